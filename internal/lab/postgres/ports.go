package postgres

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/shiplift/shiplift/internal/say"
)

// pickPorts returns a server port and an ssh port for each node: the first n
// are the servers'. With a base they are fixed, and a taken one is an error.
func pickPorts(base, n int) ([]int, error) {
	if base == 0 {
		return freePorts(2 * n)
	}
	ports := make([]int, 0, 2*n)
	for _, from := range []int{base, base + 100} {
		for i := range n {
			ports = append(ports, from+i+1)
		}
	}
	for _, p := range ports {
		if !portFree(p) {
			return nil, &say.Problem{
				Place: "--base-port",
				Text:  say.F("port %d is taken", "端口 %d 已被占用", p),
				Next:  say.F("name another base, or none for free ports", "请换一个起始端口，或不指定以自动选择"),
			}
		}
	}
	return ports, nil
}

// freePorts picks ports below the range from which the kernel takes the ports
// of outgoing connections: a server that is down for a moment would otherwise
// find its port taken by one of the clients that try to reach it.
func freePorts(n int) ([]int, error) {
	const low = 10000
	high := ephemeralLow()
	if high < low+1000 {
		high = 32768
	}
	seen := map[int]bool{}
	var ports []int
	for range 10000 {
		p := low + rand.IntN(high-low)
		if seen[p] || !portFree(p) {
			continue
		}
		seen[p] = true
		if ports = append(ports, p); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports between %d and %d on 127.0.0.1", n, low, high)
}

func ephemeralLow() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\t")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return n
}

func portFree(p int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
