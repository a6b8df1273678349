// Package ftp is the FTP server of the development stack and of tests: the one that in production is ours and into
// which EIOTCLUB pushes CDR files (seed 002, CDR话单FTP对接).
//
// Input: an FTP login. Output: one directory tree below Root. It is goftp.io/server with three faults for downloads
// added. It must not be used in production: the library's passive data ports listen on all interfaces for the moment
// of a transfer, and nothing is encrypted.
package ftp

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/simline/simline/internal/sim/fault"
	"goftp.io/server/v2"
	"goftp.io/server/v2/driver/file"
)

// Config says what is served. The zero value of every field but Root is sound.
type Config struct {
	Root     string // directory whose tree is served
	Dir      string // directory below it that gets made and stands in the URL; default "upload", as in the document
	User     string // default EIOTCLUB
	Password string // default ef42gj67
}

// Server is one FTP server.
type Server struct {
	cfg    Config
	faults fault.Set

	mu    sync.Mutex
	ln    net.Listener
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// New makes a server.
func New(cfg Config) *Server {
	cfg.Dir = cmp.Or(cfg.Dir, "upload")
	cfg.User, cfg.Password = cmp.Or(cfg.User, "EIOTCLUB"), cmp.Or(cfg.Password, "ef42gj67")
	return &Server{cfg: cfg, conns: map[net.Conn]struct{}{}}
}

// Faults are the rules for downloads: ftp_refuse, ftp_stall, ftp_cut; Path is the end of a file's path.
func (s *Server) Faults() *fault.Set { return &s.faults }

// Path is the directory on disk into which the supplier pushes.
func (s *Server) Path() string { return filepath.Join(s.cfg.Root, s.cfg.Dir) }

// Start listens on an address (":0" forms included) and returns ftp://user:password@host:port/dir.
func (s *Server) Start(addr string) (string, error) {
	if err := os.MkdirAll(s.Path(), 0o755); err != nil {
		return "", fmt.Errorf("ftp: making the upload directory: %w", err)
	}
	disk, err := file.NewDriver(s.cfg.Root)
	if err != nil {
		return "", fmt.Errorf("ftp: %w", err)
	}
	srv, err := server.NewServer(&server.Options{
		Driver: &driver{disk, s},
		Auth:   &server.SimpleAuth{Name: s.cfg.User, Password: s.cfg.Password},
		Perm:   server.NewSimplePerm("simline", "simline"),
		Logger: &server.DiscardLogger{},
	})
	if err != nil {
		return "", fmt.Errorf("ftp: %w", err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("ftp: %w", err)
	}
	s.mu.Lock()
	s.ln = ln
	s.mu.Unlock()
	s.wg.Go(func() { srv.Serve(tracked{ln, s}) })
	u := url.URL{Scheme: "ftp", User: url.UserPassword(s.cfg.User, s.cfg.Password), Host: ln.Addr().String(), Path: "/" + s.cfg.Dir}
	return u.String(), nil
}

// Close stops listening and drops the sessions under way.
func (s *Server) Close() {
	s.mu.Lock()
	if s.ln != nil {
		s.ln.Close()
	}
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// tracked remembers connections, so that Close can drop them; the library does not.
type tracked struct {
	net.Listener
	s *Server
}

func (t tracked) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.s.conns[c] = struct{}{}
	return &conn{c, t.s}, nil
}

type conn struct {
	net.Conn
	s *Server
}

func (c *conn) Close() error {
	c.s.mu.Lock()
	delete(c.s.conns, c.Conn)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

// driver is the library's file driver with faults in its downloads.
type driver struct {
	server.Driver
	s *Server
}

func (d *driver) GetFile(ctx *server.Context, path string, offset int64) (int64, io.ReadCloser, error) {
	rules := d.s.faults.Take(fault.Download, path, filepath.Base(path))
	if _, refuse := fault.Has(rules, fault.FTPRefuse); refuse {
		return 0, nil, errors.New("file not available")
	}
	n, r, err := d.Driver.GetFile(ctx, path, offset)
	if err != nil || len(rules) == 0 {
		return n, r, err
	}
	half := io.Reader(io.LimitReader(r, n/2))
	rest := io.Reader(r)
	if stall, ok := fault.Has(rules, fault.FTPStall); ok {
		rest = &stalled{Reader: r, d: time.Duration(stall.Delay)}
	}
	if _, cut := fault.Has(rules, fault.FTPCut); cut {
		rest = broken{}
	}
	return n, struct {
		io.Reader
		io.Closer
	}{io.MultiReader(half, rest), r}, nil
}

type stalled struct {
	io.Reader
	d    time.Duration
	once sync.Once
}

func (s *stalled) Read(p []byte) (int, error) {
	s.once.Do(func() { <-time.After(s.d) })
	return s.Reader.Read(p)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("disk failed") }
