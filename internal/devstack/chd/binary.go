package chd

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/simline/simline/internal/devstack/dirlock"
)

// oldestBinary is the first major version that takes our migrations. Debian's
// clickhouse-server 18.16 lacks most of what they use.
const oldestBinary = 22

var versionLine = regexp.MustCompile(`version (\d+)\.(\d+)`)

// findBinary looks for a clickhouse that is new enough.
func findBinary(ctx context.Context) (bin, version string, err error) {
	bin, err = exec.LookPath("clickhouse")
	if err != nil {
		return "", "", errors.New("none found")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, "server", "--version").Output()
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return "", "", fmt.Errorf("%s does not tell its version (%w)", bin, errors.Join(err, errors.New("clickhouse server --version")))
	}
	if major, err := strconv.Atoi(string(m[1])); err != nil || major < oldestBinary {
		return "", "", fmt.Errorf("%s is version %s.%s, too old (Debian's clickhouse-server 18.16 is too)", bin, m[1], m[2])
	}
	return bin, string(m[1]) + "." + string(m[2]), nil
}

// serverConfig is as much configuration as a private server on loopback needs.
type serverConfig struct {
	XMLName   xml.Name `xml:"clickhouse"`
	Level     string   `xml:"logger>level"`
	Log       string   `xml:"logger>log"`
	ErrorLog  string   `xml:"logger>errorlog"`
	HTTPPort  int      `xml:"http_port"`
	Listen    string   `xml:"listen_host"`
	Path      string   `xml:"path"`
	Tmp       string   `xml:"tmp_path"`
	Files     string   `xml:"user_files_path"`
	MarkCache int64    `xml:"mark_cache_size"`
	Zone      string   `xml:"timezone"`
	Profile   string   `xml:"default_profile"`
	Database  string   `xml:"default_database"`
	Users     struct {
		Default struct {
			Password string   `xml:"password"`
			Networks []string `xml:"networks>ip"`
			Profile  string   `xml:"profile"`
			Quota    string   `xml:"quota"`
			Access   int      `xml:"access_management"`
		} `xml:"default"`
	} `xml:"users"`
	Profiles struct{} `xml:"profiles>default"`
	Quotas   struct{} `xml:"quotas>default"`
	UsersIn  string   `xml:"users_config"`
}

// startBinary runs a server of our own: own data, own configuration, loopback.
func startBinary(bin, dataDir string, port int) (*process, string, error) {
	// The server locks its data itself; our lock says who holds them in plain words.
	lock, err := dirlock.Acquire(dataDir)
	if err != nil {
		return nil, "", fmt.Errorf("open data directory: %w", err)
	}
	unlock := func() { _ = lock.Release() }
	file, err := writeServerConfig(dataDir, port)
	if err != nil {
		unlock()
		return nil, "", err
	}
	cmd := exec.Command(bin, "server", "--config-file="+file)
	cmd.Dir = dataDir
	p, err := launch(cmd, nil, unlock)
	if err != nil {
		unlock()
		return nil, "", err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := awaitPing("http://"+addr+"/ping", p.exited); err != nil {
		p.kill()
		return nil, "", fmt.Errorf("%w; see %s. %s", err, filepath.Join(dataDir, "server.err.log"), p.stderr)
	}
	return p, addr, nil
}

func writeServerConfig(dir string, port int) (string, error) {
	file := filepath.Join(dir, "config.xml")
	sc := serverConfig{Level: "warning", Log: filepath.Join(dir, "server.log"), ErrorLog: filepath.Join(dir, "server.err.log"),
		HTTPPort: port, Listen: "127.0.0.1", Path: filepath.Join(dir, "data") + "/", Tmp: filepath.Join(dir, "tmp") + "/", Files: "/",
		MarkCache: 256 << 20, Zone: "UTC", Profile: "default", Database: "default", UsersIn: file}
	sc.Users.Default.Networks = []string{"127.0.0.1", "::1"}
	sc.Users.Default.Profile, sc.Users.Default.Quota, sc.Users.Default.Access = "default", "default", 1
	b, err := xml.MarshalIndent(sc, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write server configuration: %w", err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return "", fmt.Errorf("write server configuration: %w", err)
	}
	return file, nil
}

func awaitPing(url string, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for {
		if resp, err := client.Get(url); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-exited:
			return errors.New("the server ended at once")
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
