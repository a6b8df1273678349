package bustest

import (
	"net"
	"strconv"
	"sync"
)

// gate forwards TCP connections to the server and can stop their bytes without
// closing them: what a lost network looks like.
type gate struct {
	ln     net.Listener
	target string // the server's address, the same over its restarts

	mu     sync.Mutex
	opened *sync.Cond
	shut   bool // no bytes pass, either way
	closed bool
	conns  map[net.Conn]struct{}
	wg     sync.WaitGroup
}

// Gated is the URL of a second way to the server, which Pause stops. Clients
// that are to live through a pause connect here.
func (s *Server) Gated() string {
	s.t.Helper()
	if s.d == nil {
		s.t.Fatal("bustest: the server is stopped")
	}
	if s.gate == nil {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatalf("bustest: gate: %v", err)
		}
		g := &gate{ln: ln, target: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.d.Port())), conns: map[net.Conn]struct{}{}}
		g.opened = sync.NewCond(&g.mu)
		s.gate = g
		g.wg.Go(g.accept)
	}
	return "nats://" + s.gate.ln.Addr().String()
}

// Pause holds every byte on gated connections, silently, until Resume: requests
// neither fail nor are answered. A server that was paused may have stored a
// publish whose acknowledgement is held here.
func (s *Server) Pause() { s.set(true) }

// Resume lets held bytes through.
func (s *Server) Resume() { s.set(false) }

func (s *Server) set(shut bool) {
	s.t.Helper()
	if s.gate == nil {
		s.t.Fatal("bustest: Pause and Resume act on connections made to Gated()")
	}
	s.gate.mu.Lock()
	s.gate.shut = shut
	s.gate.opened.Broadcast()
	s.gate.mu.Unlock()
}

func (g *gate) accept() {
	for {
		c, err := g.ln.Accept()
		if err != nil {
			return // closed
		}
		up, err := net.Dial("tcp", g.target)
		if err != nil {
			_ = c.Close() // the server is down, and so it looks to the client
			continue
		}
		if !g.add(c, up) {
			continue
		}
		g.wg.Go(func() { g.copy(up, c) })
		g.wg.Go(func() { g.copy(c, up) })
	}
}

func (g *gate) add(cs ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range cs {
		if g.closed {
			_ = c.Close()
			continue
		}
		g.conns[c] = struct{}{}
	}
	return !g.closed
}

func (g *gate) copy(dst, src net.Conn) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		g.mu.Lock()
		for g.shut && !g.closed {
			g.opened.Wait()
		}
		g.mu.Unlock()
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return // whichever side went, the other follows
		}
	}
}

func (g *gate) close() {
	_ = g.ln.Close()
	g.mu.Lock()
	g.closed = true
	for c := range g.conns {
		_ = c.Close()
	}
	g.opened.Broadcast()
	g.mu.Unlock()
	g.wg.Wait()
}
