module github.com/shiplift/shiplift

go 1.26
