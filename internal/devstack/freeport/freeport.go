// Package freeport finds a port of loopback for a server that is started later,
// by another process, or more than once.
//
// A port that the kernel gave away and got back belongs to nobody until the server
// listens on it, and again whenever the server is restarted: another server, an FTP
// transfer, even a client on its way out may be given it meanwhile. These ports are
// none of the kernel's own, and nobody else who asks here gets them while this
// process lives.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The kernel gives away ports from 32768 up (Linux; others from 49152).
const (
	lowest  = 10_000
	highest = 32_767
	tries   = 1000
)

var (
	mu     sync.Mutex
	claims []net.PacketConn // what keeps our ports from others who ask here
)

// Find returns a free TCP port of 127.0.0.1. It stays this process's own: the UDP
// port of the same number is held until the process ends.
func Find() (int, error) {
	var err error
	for range tries {
		port := lowest + rand.IntN(highest-lowest+1)
		if err = claim(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: none of %d tried, the last: %w", tries, err)
}

func claim(addr string) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		_ = c.Close()
		return err
	}
	_ = l.Close()
	mu.Lock()
	defer mu.Unlock()
	claims = append(claims, c)
	return nil
}
