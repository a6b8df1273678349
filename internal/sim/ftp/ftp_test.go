package ftp_test

import (
	"bytes"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jlaffaye/ftp"
	"github.com/simline/simline/internal/sim/fault"
	simftp "github.com/simline/simline/internal/sim/ftp"
)

func dial(t *testing.T, raw string) (*ftp.ServerConn, string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ftp.Dial(u.Host, ftp.DialWithTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Quit() })
	pass, _ := u.User.Password()
	if err := c.Login(u.User.Username(), pass); err != nil {
		t.Fatal(err)
	}
	return c, u.Path
}

func TestUploadListDownload(t *testing.T) {
	s := simftp.New(simftp.Config{Root: t.TempDir()})
	u, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if !strings.HasPrefix(u, "ftp://EIOTCLUB:ef42gj67@127.0.0.1:") || !strings.HasSuffix(u, "/upload") {
		t.Errorf("URL %s", u)
	}
	c, dir := dial(t, u)
	body := bytes.Repeat([]byte("id,start_time\r\n"), 10_000)
	if err := c.Stor(dir+"/a.csv", bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if on, err := os.ReadFile(filepath.Join(s.Path(), "a.csv")); err != nil || !bytes.Equal(on, body) {
		t.Errorf("on disk: %v, %d bytes, want %d", err, len(on), len(body))
	}
	list, err := c.List(dir)
	if err != nil || len(list) != 1 || list[0].Name != "a.csv" || list[0].Size != uint64(len(body)) {
		t.Errorf("list: %v, %+v", err, list)
	}
	read := func() ([]byte, error) {
		r, err := c.Retr(dir + "/a.csv")
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		return b, err
	}
	if b, err := read(); err != nil || !bytes.Equal(b, body) {
		t.Errorf("download: %v, %d bytes", err, len(b))
	}
	for _, k := range []fault.Kind{fault.FTPCut, fault.FTPRefuse} {
		s.Faults().MustAdd(fault.Rule{Kind: k, Path: "a.csv", Times: 1})
		if b, err := read(); err == nil {
			t.Errorf("%s: no error, %d bytes", k, len(b))
		}
	}
	s.Faults().MustAdd(fault.Rule{Kind: fault.FTPStall, Delay: fault.Duration(20 * time.Millisecond), Times: 1})
	if b, err := read(); err != nil || !bytes.Equal(b, body) {
		t.Errorf("stalled: %v, %d bytes", err, len(b))
	}
}

func TestWrongPassword(t *testing.T) {
	s := simftp.New(simftp.Config{Root: t.TempDir(), Password: "other"})
	u, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	p, _ := url.Parse(u)
	c, err := ftp.Dial(p.Host, ftp.DialWithTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Quit()
	if err := c.Login("EIOTCLUB", "ef42gj67"); err == nil {
		t.Error("logged in")
	}
}
