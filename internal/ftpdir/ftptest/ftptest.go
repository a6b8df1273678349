// Package ftptest starts Debian's vsftpd for a test: the server that a
// production FTP directory is most likely to run. It needs no root.
package ftptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/simline/simline/internal/devstack/freeport"
)

// Options of a server.
type Options struct {
	TLS bool // explicit FTPS, required on control and data connections
	// PASVOnly makes the server refuse EPSV.
	PASVOnly bool
	Extra    string // further lines of vsftpd.conf
}

// VSFTPD is a running server.
type VSFTPD struct {
	Path string // the served directory on disk
	URL  string // ftp:// or ftps://, with the CA when TLS is on
}

// Start starts vsftpd on a free port of loopback and ends it with the test. It
// skips the test where vsftpd is not installed, and fails it in CI.
func Start(t testing.TB, o Options) *VSFTPD {
	t.Helper()
	bin, err := exec.LookPath("vsftpd")
	if err != nil {
		if bin = "/usr/sbin/vsftpd"; !exists(bin) {
			if os.Getenv("CI") != "" {
				t.Fatal("vsftpd is not installed: apt-get install vsftpd")
			}
			t.Skip("vsftpd is not installed: apt-get install vsftpd")
		}
	}
	root := t.TempDir()
	v := &VSFTPD{Path: filepath.Join(root, "upload")}
	if err := os.Mkdir(v.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`listen=YES
listen_address=127.0.0.1
listen_port=%d
background=NO
run_as_launching_user=YES
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_other_write_enable=YES
anon_root=%s
allow_writeable_chroot=YES
seccomp_sandbox=NO
secure_chroot_dir=%s
xferlog_enable=NO
pasv_address=127.0.0.1
%s
`, port, root, root, o.Extra)
	scheme, query := "ftp", ""
	if o.TLS {
		cert := selfSigned(t)
		conf += fmt.Sprintf("ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_data_ssl=YES\nforce_anon_logins_ssl=YES\nrsa_cert_file=%s\nssl_ciphers=HIGH\n", cert)
		scheme, query = "ftps", "?ca="+cert
	}
	if o.PASVOnly {
		conf += "cmds_denied=EPSV\n"
	}
	path := filepath.Join(t.TempDir(), "vsftpd.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, path)
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("start vsftpd: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // "killed", as intended
	})
	waitListening(t, port, out)
	v.URL = fmt.Sprintf("%s://anonymous:x@127.0.0.1:%d/upload%s", scheme, port, query)
	return v
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func waitListening(t testing.TB, port int, out *tail) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("vsftpd does not listen: %v; it said: %s", err, out.b)
		}
		<-tick.C
	}
}

type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) { t.b = append(t.b, p...); return len(p), nil }

// selfSigned writes a certificate for 127.0.0.1 and its key into one file.
func selfSigned(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ftptest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "server.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
