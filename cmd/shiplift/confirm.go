package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/mattn/go-isatty"

	"github.com/shiplift/shiplift/internal/say"
)

// confirm asks before something changes. --yes has answered already; where
// nobody can answer, nothing is done.
func (a *app) confirm(question say.Text) error {
	if a.flags.yes {
		return nil
	}
	if _, file := a.stdin.(*os.File); file && !a.onTerminal() {
		return usage("", say.F("this asks before it changes anything, and there is no terminal to answer on", "更改前需要确认，但没有可用于回答的终端"),
			say.F("answer beforehand with --yes", "用 --yes 预先确认"))
	}
	fmt.Fprintf(a.screen.Err, "%s [yes/no] ", question.In(a.screen.Lang))
	line, err := a.readLine()
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes", "是":
		return nil
	}
	a.screen.Talk(say.F("nothing was changed", "未做任何更改"))
	return &ended{exitFailed}
}

// onTerminal reports whether a person can be asked.
func (a *app) onTerminal() bool {
	f, ok := a.stdin.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// readLine waits for the operator; Ctrl-C ends the waiting.
func (a *app) readLine() (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() { // a read from a terminal cannot be called off; it ends with the process
		line, err := bufio.NewReader(a.stdin).ReadString('\n')
		got <- answer{line, err}
	}()
	stopped := make(chan struct{}, 1)
	defer a.stops.during(func() {
		select {
		case stopped <- struct{}{}:
		default:
		}
	})()
	select {
	case ans := <-got:
		if ans.err != nil && ans.line == "" {
			return "", usage("", say.F("no answer", "没有回答"), say.F("answer beforehand with --yes", "用 --yes 预先确认"))
		}
		return ans.line, nil
	case <-stopped:
		return "", errInterrupted
	}
}
