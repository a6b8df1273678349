package ftpdir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/ftpdir"
	"github.com/simline/simline/internal/ftpdir/ftptest"
	simftp "github.com/simline/simline/internal/sim/ftp"
)

type server struct{ path, url string }

func embedded(t *testing.T) server {
	t.Helper()
	s := simftp.New(simftp.Config{Root: t.TempDir()})
	url, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return server{s.Path(), url}
}

func vsftpd(o ftptest.Options) func(t *testing.T) server {
	return func(t *testing.T) server {
		t.Helper()
		v := ftptest.Start(t, o)
		return server{v.Path, v.URL}
	}
}

var servers = map[string]func(t *testing.T) server{
	"embedded":                 embedded,
	"vsftpd, EPSV":             vsftpd(ftptest.Options{}),
	"vsftpd, PASV only":        vsftpd(ftptest.Options{PASVOnly: true}),
	"vsftpd, explicit FTPS":    vsftpd(ftptest.Options{TLS: true}),
	"vsftpd, FTPS, no session": vsftpd(ftptest.Options{TLS: true, Extra: "require_ssl_reuse=NO"}),
}

func parse(t *testing.T, url string) *ftpdir.Dir {
	t.Helper()
	d, err := ftpdir.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestListStatAndRead(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			d := parse(t, srv.url)
			if l, err := d.List(t.Context()); err != nil || len(l.Files) != 0 {
				t.Fatalf("empty directory: %+v, %v", l, err)
			}
			content := bytes.Repeat([]byte("0123456789abcdef\n"), 50_000)
			for i := range 30 {
				write(t, filepath.Join(srv.path, fmt.Sprintf("f%02d.csv", i)), content[:i*1000])
			}
			write(t, filepath.Join(srv.path, "name with blanks.csv"), []byte("x"))
			write(t, filepath.Join(srv.path, "big.csv"), content)
			if err := os.Mkdir(filepath.Join(srv.path, "subdirectory"), 0o755); err != nil {
				t.Fatal(err)
			}
			l, err := d.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Files) != 32 || l.Asked != 0 || len(l.Unread) != 0 {
				t.Fatalf("%d files, %d asked, unread %v", len(l.Files), l.Asked, l.Unread)
			}
			if f := l.Files[8]; f.Name != "f07.csv" || f.Size != 7000 || time.Since(f.Modified).Abs() > 26*time.Hour {
				t.Fatalf("entry %+v", f)
			}

			s, err := d.Session(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			e, err := s.Stat("big.csv")
			if err != nil || e.Size != int64(len(content)) {
				t.Fatalf("Stat: %+v, %v", e, err)
			}
			for range 2 { // a second transfer in the same session
				r, err := s.Open("big.csv")
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Stat("nothing.csv"); !errors.Is(err, ftpdir.ErrGone) {
				t.Fatalf("Stat of nothing: %v", err)
			}
			if _, err := s.Open("nothing.csv"); !errors.Is(err, ftpdir.ErrGone) {
				t.Fatalf("Open of nothing: %v", err)
			}
			if err := s.Move("f01.csv", "moved.csv"); err != nil {
				t.Fatal(err)
			}
			if err := s.Delete("f02.csv"); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(srv.path, "moved.csv")); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(srv.path, "f02.csv")); !os.IsNotExist(err) {
				t.Fatal("f02.csv is still there")
			}
		})
	}
}

// A directory that nobody ever tidied up: it is listed whole, in bounded time and memory.
func TestHundredThousandFiles(t *testing.T) {
	const files = 100_000
	srv := vsftpd(ftptest.Options{})(t)
	name := func(i int) string {
		return filepath.Join(srv.path, fmt.Sprintf("cdr_10001_20260115000000_20260115010000_%014d.csv", i))
	}
	for i := range files {
		write(t, name(i), nil)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := time.Now()
	l, err := parse(t, srv.url).List(t.Context())
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	if err != nil || len(l.Files) != files || l.Asked != 0 || len(l.Unread) != 0 {
		t.Fatalf("%d files, %d asked, %d unread, %v", len(l.Files), l.Asked, len(l.Unread), err)
	}
	grown := int64(after.HeapSys) - int64(before.HeapSys)
	t.Logf("%d files in %s, heap grown by %d MiB", files, took.Round(time.Millisecond), grown>>20)
	if took > 60*time.Second || grown > 160<<20 {
		t.Errorf("%d files took %s and %d MiB", files, took, grown>>20)
	}
}

func TestAbandonedTransferIsNotWhole(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			write(t, filepath.Join(srv.path, "big.csv"), bytes.Repeat([]byte("x"), 20<<20))
			s, err := parse(t, srv.url).Session(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r, err := s.Open("big.csv")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err == nil {
				t.Fatal("Close of a transfer that was cut short says it is whole")
			}
		})
	}
}

// A server that lists in a way nobody can read must not make files vanish.
func TestUnreadableListingIsAsked(t *testing.T) {
	addr := scripted(t, func(cmd string) (answers []string, data string) {
		switch {
		case strings.HasPrefix(cmd, "FEAT"):
			return []string{"211-Features:", " MDTM", "211 End"}, ""
		case strings.HasPrefix(cmd, "LIST"):
			return []string{"150 here", "226 done"}, "??? who knows what odd.csv is\r\n"
		case strings.HasPrefix(cmd, "NLST"):
			return []string{"150 here", "226 done"}, "odd.csv\r\n./dir\r\n"
		case cmd == "SIZE odd.csv":
			return []string{"213 42"}, ""
		case cmd == "MDTM odd.csv":
			return []string{"213 20260115013000"}, ""
		}
		return nil, ""
	})
	l, err := parse(t, "ftp://u:p@"+addr+"/upload").List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l.Asked != 2 || len(l.Files) != 1 || l.Files[0].Size != 42 || l.Files[0].Modified.Unix() != 1768440600 {
		t.Fatalf("listing %+v", l)
	}
}

// Each step that a server may hang in must end by itself.
func TestEveryStepHasADeadline(t *testing.T) {
	for _, hang := range []string{"greeting", "USER", "CWD", "EPSV", "LIST", "data", "226", "SIZE"} {
		t.Run(hang, func(t *testing.T) {
			t.Parallel()
			addr := scripted(t, func(cmd string) ([]string, string) {
				switch {
				case hang == "data" && strings.HasPrefix(cmd, "LIST"):
					return []string{"150 here"}, hangData
				case hang == "226" && strings.HasPrefix(cmd, "LIST"):
					return []string{"150 here"}, ""
				case hang == "SIZE" && strings.HasPrefix(cmd, "LIST"):
					return []string{"150 here", "226 done"}, "??? who knows what odd.csv is\r\n" // so that it is asked for
				case strings.HasPrefix(cmd, hang), cmd == "" && hang == "greeting":
					return []string{hangForever}, ""
				case strings.HasPrefix(cmd, "NLST"):
					return []string{"150 here", "226 done"}, "odd.csv\r\n"
				}
				return nil, ""
			})
			begin := time.Now()
			_, err := parse(t, "ftp://u:p@"+addr+"/upload?step=100ms").List(t.Context())
			if took := time.Since(begin); err == nil || took >= ftpdir.DefaultStep {
				t.Fatalf("%v after %s", err, took)
			}
		})
	}
}

// Wherever a session is when its context ends, it ends with it, and says so.
func TestContextEndsASession(t *testing.T) {
	for _, at := range []string{"", "USER", "CWD", "EPSV", "LIST"} { // "" is the greeting
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			addr := scripted(t, func(cmd string) ([]string, string) {
				if verb, _, _ := strings.Cut(cmd, " "); verb != at {
					return nil, ""
				}
				cancel()
				return []string{hangForever}, ""
			})
			if _, err := parse(t, "ftp://u:p@"+addr+"/upload").List(ctx); !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v, want context.Canceled", err)
			}
		})
	}
}

func TestParse(t *testing.T) {
	d := parse(t, "ftp://EIOTCLUB:ef42gj67@52.167.144.21:20021/upload")
	if got := d.String(); got != "ftp://EIOTCLUB@52.167.144.21:20021/upload" {
		t.Errorf("String() = %q", got)
	}
	if got := parse(t, "ftps://u:p@example.org/in").String(); got != "ftps://u@example.org:21/in" {
		t.Errorf("String() = %q", got)
	}
	for _, bad := range []string{"", "upload", "http://u:p@h/x", "ftp:///upload", "ftp://u:secret@h:port/x", "ftp://h/?step=0s", "ftp://h/?step=x", "ftp://h/?what=1", "ftp://h/?ca=x", "ftps://h/?ca=/nonexistent", "ftp://h/?epsv=maybe"} {
		_, err := ftpdir.Parse(bad)
		if !errors.Is(err, ftpdir.ErrURL) {
			t.Errorf("Parse(%q): %v", bad, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("error tells the password: %v", err)
		}
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

const hangForever, hangData = "\x00hang", "\x00hang"

// scripted is a server of which the test writes each answer; what it leaves out
// gets a sensible one. The empty command is the greeting.
func scripted(t *testing.T, answer func(cmd string) (answers []string, data string)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { close(done); _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveScript(c, answer, done)
		}
	}()
	return l.Addr().String()
}

func serveScript(c net.Conn, answer func(string) ([]string, string), done chan struct{}) {
	defer c.Close()
	var data net.Listener
	say := func(lines []string) bool {
		for _, s := range lines {
			if s == hangForever {
				<-done
				return false
			}
			fmt.Fprintf(c, "%s\r\n", s)
		}
		return true
	}
	reply := func(cmd string) bool {
		lines, body := answer(cmd)
		if lines == nil {
			switch verb, _, _ := strings.Cut(cmd, " "); verb {
			case "":
				lines = []string{"220 ready"}
			case "USER", "PASS":
				lines = []string{"230 in"}
			case "TYPE":
				lines = []string{"200 ok"}
			case "CWD":
				lines = []string{"250 ok"}
			case "EPSV":
				var err error
				if data, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
					return false
				}
				lines = []string{fmt.Sprintf("229 ok (|||%d|)", data.Addr().(*net.TCPAddr).Port)}
			case "SIZE", "MDTM":
				lines = []string{"550 no"}
			default:
				lines = []string{"500 what?"}
			}
		}
		if len(lines) > 0 && strings.HasPrefix(lines[0], "150") {
			d, err := data.Accept()
			if err != nil || !say(lines[:1]) {
				return false
			}
			if body == hangData {
				defer d.Close()
				<-done
				return false
			}
			_, _ = io.WriteString(d, body)
			_ = d.Close()
			_ = data.Close()
			if len(lines) == 1 {
				<-done
				return false
			}
			lines = lines[1:]
		}
		return say(lines)
	}
	if !reply("") {
		return
	}
	buf, have := make([]byte, 1024), 0
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		for {
			i := bytes.Index(buf[:have], []byte("\r\n"))
			if i < 0 {
				break
			}
			cmd := string(buf[:i])
			have = copy(buf, buf[i+2:have])
			if !reply(cmd) {
				return
			}
		}
	}
}
