package ftpdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"path"
	"strings"
	"time"

	"github.com/jlaffaye/ftp"
)

// Entry is one file of the directory.
type Entry struct {
	Name string
	Size int64 // bytes
	// Modified is as exact as the server tells it: a minute in a plain listing,
	// a second from Stat.
	Modified time.Time
}

// ErrGone: there is no such file, no longer, or not now; servers do not agree on
// which answer means what.
var ErrGone = errors.New("no such file in the FTP directory")

// Session is one logged-in connection, for one goroutine. It ends at Close, or
// when the context that it was made with ends.
type Session struct {
	dir  *Dir
	conn *ftp.ServerConn
	net  *dialer
	stop func() bool
}

// Session dials, logs in and changes into the directory.
func (d *Dir) Session(ctx context.Context) (*Session, error) {
	net := &dialer{ctx: ctx, dir: d}
	opts := []ftp.DialOption{
		ftp.DialWithDialFunc(net.dial),
		ftp.DialWithDisabledEPSV(d.noEPSV),
		ftp.DialWithShutTimeout(d.step),
	}
	if d.tls != nil {
		opts = append(opts, ftp.DialWithExplicitTLS(d.tls))
	}
	stop := context.AfterFunc(ctx, net.close)
	conn, err := ftp.Dial(d.addr, opts...)
	if err != nil {
		stop()
		net.close()
		return nil, fmt.Errorf("connect to %s: %w", d, net.why(err))
	}
	s := &Session{dir: d, conn: conn, net: net, stop: stop}
	if err := conn.Login(d.user, d.password); err != nil {
		s.Close()
		return nil, fmt.Errorf("log in to %s: %w", d, net.why(err))
	}
	if err := s.enter(d.path); err != nil {
		s.Close()
		return nil, fmt.Errorf("change into %s: %w", d, net.why(err))
	}
	return s, nil
}

// enter changes into the directory. By RFC 1738 a URL's path begins where the
// login lands; people who write /upload often mean the server's root. Both are
// the same on a server that locks its users in.
func (s *Session) enter(path string) error {
	rel := strings.TrimPrefix(path, "/")
	if rel == "" {
		return nil
	}
	err := s.conn.ChangeDir(rel)
	if err != nil && rel != path {
		err = s.conn.ChangeDir(path)
	}
	return err
}

// Close says goodbye and closes the connection. There is nothing to lose: what
// was read has been judged by its stream's own Close.
func (s *Session) Close() {
	s.stop()
	_ = s.conn.Quit()
	s.net.close()
}

// Stat asks for a file's size and time, or returns ErrGone.
func (s *Session) Stat(name string) (Entry, error) {
	size, err := s.conn.FileSize(name)
	if err != nil {
		return Entry{}, s.failed("size of", name, err)
	}
	e := Entry{Name: name, Size: size}
	if s.conn.IsGetTimeSupported() {
		if e.Modified, err = s.conn.GetTime(name); err != nil {
			return Entry{}, s.failed("time of", name, err)
		}
	}
	return e, nil
}

// Open begins to stream a file. The stream must be closed, and its content is
// whole only if Close returns nil.
func (s *Session) Open(name string) (io.ReadCloser, error) {
	r, err := s.conn.Retr(name)
	if err != nil {
		return nil, s.failed("open", name, err)
	}
	return &stream{r: r, s: s, name: name}, nil
}

// Move renames a file, within the server.
func (s *Session) Move(name, to string) error {
	if err := s.conn.Rename(name, to); err != nil {
		return s.failed("move", name, err)
	}
	return nil
}

// Delete removes a file.
func (s *Session) Delete(name string) error {
	if err := s.conn.Delete(name); err != nil {
		return s.failed("delete", name, err)
	}
	return nil
}

func (s *Session) failed(what, name string, err error) error {
	err = s.net.why(err)
	var answer *textproto.Error
	if errors.As(err, &answer) && goneCode(answer.Code) {
		return fmt.Errorf("%s %s: %w (%w)", what, name, ErrGone, err)
	}
	return fmt.Errorf("%s %s on %s: %w", what, name, s.dir, err)
}

func goneCode(code int) bool {
	// 551 is what goftp.io answers to RETR.
	return code == ftp.StatusFileUnavailable || code == ftp.StatusFileActionIgnored || code == ftp.StatusPageTypeUnknown
}

// stream is a transfer. Closing it early makes the server abort, and say so.
type stream struct {
	r    *ftp.Response
	s    *Session
	name string
	eof  bool
}

func (t *stream) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if errors.Is(err, io.EOF) {
		t.eof = true
		return n, io.EOF
	}
	if err != nil {
		err = t.s.failed("read", t.name, err)
	}
	return n, err
}

// Close returns nil only if the stream was read to its end and the server
// confirmed that this was the file's.
func (t *stream) Close() error {
	err := t.r.Close()
	if err != nil {
		return t.s.failed("finish reading", t.name, err)
	}
	if !t.eof {
		return fmt.Errorf("finish reading %s: %w", t.name, io.ErrUnexpectedEOF)
	}
	return nil
}

// base is the last part of a name: NLST may answer with whole paths.
func base(name string) string { return path.Base(name) }
