package warehousetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/simline/simline/internal/devstack/freeport"
	"github.com/simline/simline/internal/warehouse"
)

const debianConf = `<yandex>
  <logger><level>error</level><console>1</console></logger>
  <listen_host>127.0.0.1</listen_host>
  <tcp_port>%d</tcp_port>
  <path>%[2]s/</path>
  <tmp_path>%[2]s/tmp/</tmp_path>
  <format_schema_path>%[2]s/</format_schema_path>
  <timezone>UTC</timezone>
  <mark_cache_size>10000000</mark_cache_size>
  <users_config>%[3]s</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users><default><password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default></users>
</yandex>
`

// Debian starts Debian's clickhouse-server 18.16 on a free port of loopback and
// ends it with the test. It is the one server that can be had here that speaks
// the native protocol over TCP; it knows little of what our schema needs, so it
// gets plain tables. The test is skipped where it is not installed, and fails in CI.
func Debian(t testing.TB) *warehouse.DB {
	t.Helper()
	bin, err := exec.LookPath("/usr/sbin/clickhouse-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("warehousetest: clickhouse-server is not installed: apt-get install clickhouse-server")
		}
		t.Skip("warehousetest: clickhouse-server is not installed: apt-get install clickhouse-server")
	}
	dir := t.TempDir()
	port, err := freeport.Find()
	if err != nil {
		t.Fatalf("warehousetest: %v", err)
	}
	conf := filepath.Join(dir, "config.xml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, debianConf, port, dir, conf), 0o600); err != nil {
		t.Fatalf("warehousetest: %v", err)
	}
	cmd := exec.Command(bin, "--config-file="+conf)
	said := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr, cmd.Dir = said, said, dir
	if err := cmd.Start(); err != nil {
		t.Fatalf("warehousetest: start clickhouse-server: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // "killed", as intended; said is whole from here on
		if t.Failed() {
			t.Logf("clickhouse-server said: %s", said)
		}
	})
	db, err := warehouse.Open(fmt.Sprintf("clickhouse://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatalf("warehousetest: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.Ping(ctx)
		if err == nil {
			return db
		}
		select {
		case <-ctx.Done():
			t.Fatalf("warehousetest: clickhouse-server does not answer: %v", err)
		case <-tick.C:
		}
	}
}
