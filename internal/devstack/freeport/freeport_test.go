package freeport

import (
	"net"
	"strconv"
	"testing"
)

// A port is free, none of the kernel's own, and is not given twice.
func TestFind(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		port, err := Find()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] || port < lowest || port > highest {
			t.Fatalf("%d, after %d others", port, len(seen))
		}
		seen[port] = true
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := claim(addr); err == nil {
			t.Fatalf("%d was given to another who asked", port)
		}
	}
}
