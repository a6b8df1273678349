package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/simline/simline/internal/service"
)

type config struct {
	service.Settings
	service.AccountSettings
	Interval time.Duration `env:"TEST_INTERVAL" envDefault:"5s" desc:"a setting"`
	DSN      string        `env:"TEST_DSN" secret:"url" desc:"an address with a password"`
}

func (c *config) Validate() error {
	var faults []error
	if c.Interval <= 0 {
		faults = append(faults, fmt.Errorf("TEST_INTERVAL %s is not above 0", c.Interval))
	}
	_, err := c.Load()
	return errors.Join(append(faults, c.Settings.Validate(), err)...)
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadConfig(t *testing.T) {
	secret := write(t, "s3cret\n")
	for _, tc := range []struct {
		name    string
		env     []string
		wantErr []string
		check   func(*config) bool
	}{
		{"defaults", nil, nil, func(c *config) bool { return c.Interval == 5*time.Second && c.LogFormat == "text" }},
		{"secret from a file, one newline less", []string{"EIOTCLUB_APP_SECRET_FILE=" + secret}, nil, func(c *config) bool { return c.EIOTCLUBAppSecret == "s3cret" }},
		{"secret twice", []string{"EIOTCLUB_APP_SECRET_FILE=" + secret, "EIOTCLUB_APP_SECRET=x"}, []string{"both set"}, nil},
		{"secret file missing", []string{"EIOTCLUB_APP_SECRET_FILE=/nowhere/at/all"}, []string{"EIOTCLUB_APP_SECRET_FILE"}, nil},
		{"every fault at once", []string{"LOG_FORMAT=xml", "LOG_LEVEL=loud", "TEST_INTERVAL=-1s", "SHUTDOWN_GRACE=2h"}, []string{"LOG_FORMAT", "LOG_LEVEL", "TEST_INTERVAL", "SHUTDOWN_GRACE"}, nil},
		{"not a duration", []string{"TEST_INTERVAL=soon"}, []string{"TEST_INTERVAL: not a"}, func(c *config) bool { return c.Interval == 5*time.Second }},
		{"addresses", []string{"ADMIN_ADDR=x"}, []string{"ADMIN_ADDR"}, nil},
		{"a port too far", []string{"ADMIN_ADDR=:70000"}, []string{"ADMIN_ADDR"}, nil},
		{"accounts file absent", []string{"ACCOUNTS_FILE=/nowhere/at/all"}, []string{"ACCOUNTS_FILE"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c config
			err := service.LoadConfig(tc.env, &c)
			for _, want := range tc.wantErr {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v does not name %s", err, want)
				}
			}
			if len(tc.wantErr) == 0 && err != nil {
				t.Errorf("error %v", err)
			}
			if tc.check != nil && !tc.check(&c) {
				t.Errorf("config %+v", c)
			}
		})
	}
}

func TestAccounts(t *testing.T) {
	key := write(t, "filekey")
	good := `
eiotclub:
  default: {app_key: "1", app_secret: a, app_secrets: [b], cdr: {account: "10001", ftp_url: "ftp://u:p@127.0.0.1:21/upload"}}
  second: {app_key: "2", app_secrets: [c, d], base_url: "http://127.0.0.1:1"}
esimfly:
  default: {access_code: x, secret_key_file: ` + key + `}
`
	s := service.AccountSettings{AccountsFile: write(t, good), EIOTCLUBBaseURL: "https://a.example", ESIMFlyBaseURL: "https://b.example"}
	a, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if e := a.EIOTCLUB["default"]; e.AppSecret != "a" || strings.Join(e.AppSecrets, "") != "ab" || e.CDR.Account != "10001" || e.BaseURL != "https://a.example" {
		t.Errorf("default: %+v", e)
	}
	if e := a.EIOTCLUB["second"]; e.AppSecret != "c" || e.BaseURL != "http://127.0.0.1:1" {
		t.Errorf("second: %+v", e)
	}
	if e := a.ESIMFly["default"]; e.SecretKey != "filekey" || e.BaseURL != "https://b.example" {
		t.Errorf("esimfly: %+v", e)
	}
	for name, text := range map[string]string{
		"unknown field":       "eiotclub: {default: {app_kee: x, app_secret: hunter2}}",
		"bad name":            "eiotclub: {\"de fault\": {app_key: x}}",
		"one number twice":    "eiotclub: {a: {cdr: {account: \"1\"}}, b: {cdr: {account: \"1\"}}}",
		"secret file missing": "esimfly: {default: {access_code: x, secret_key_file: /nowhere/at/all}}",
	} {
		t.Run(name, func(t *testing.T) {
			s := service.AccountSettings{AccountsFile: write(t, text)}
			if _, err := s.Load(); err == nil {
				t.Error("accepted")
			} else if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret in the error: %v", err)
			}
		})
	}
}

func TestCheckPrintsTheConfigurationWithSecretsMasked(t *testing.T) {
	var out, errs bytes.Buffer
	env := []string{"EIOTCLUB_APP_SECRET=hunter2", "TEST_DSN=clickhouse://u:hunter2@h:1/db", "NATS_URL=nats://u:hunter2@a:1,nats://b:2", "CDR_FTP_URL=ftp://u:hunter2@h/upload"}
	code := service.Run(t.Context(), "tester", []string{"-check"}, env, &out, &errs, &config{}, func(context.Context, *service.Process, *config) error {
		t.Error("-check ran the worker")
		return nil
	})
	if code != 0 || strings.Contains(out.String()+errs.String(), "hunter2") {
		t.Errorf("exit %d, a secret in the clear?\n%s%s", code, out.String(), errs.String())
	}
	for _, want := range []string{"# account eiotclub/default:", "EIOTCLUB_APP_SECRET=****", "TEST_INTERVAL=5s", "nats://u:xxxxx@a:1", "ADMIN_ADDR=:9090"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("-check does not print %s:\n%s", want, out.String())
		}
	}
	if code := service.Run(t.Context(), "tester", []string{"-check"}, []string{"LOG_FORMAT=xml"}, &out, &errs, &config{}, nil); code != 2 {
		t.Errorf("a wrong configuration exits %d, want 2", code)
	}
}

func TestRunServesHealthAndLetsWorkFinish(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	get := func(p *service.Process, path string) (int, string) {
		res, err := http.Get("http://" + p.Admin.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	var log bytes.Buffer
	code := service.Run(ctx, "tester", nil, []string{"ADMIN_ADDR=127.0.0.1:0", "LOG_FORMAT=json"}, io.Discard, &log, &config{}, func(ctx context.Context, p *service.Process, _ *config) error {
		if code, _ := get(p, "/readyz"); code != http.StatusServiceUnavailable {
			t.Errorf("ready before the first check: %d", code)
		}
		var away error
		p.Admin.Ready("nats", func(context.Context) error { return away })
		if code, body := get(p, "/readyz"); code != 200 {
			t.Errorf("readyz %d %s", code, body)
		}
		away = errors.New("away")
		if code, body := get(p, "/readyz"); code != 503 || !strings.Contains(body, `"nats":"away"`) {
			t.Errorf("readyz with NATS away: %d %s", code, body)
		}
		if code, _ := get(p, "/healthz"); code != 200 {
			t.Errorf("healthz follows a shared dependency: %d", code)
		}
		if _, body := get(p, "/metrics"); !strings.Contains(body, "go_goroutines") {
			t.Error("no metrics")
		}
		stop()
		<-ctx.Done()
		if p.Work.Err() != nil {
			t.Error("work was cut off at the signal")
		}
		return nil
	})
	if code != 0 {
		t.Errorf("exit %d\n%s", code, log.String())
	}
	for line := range strings.Lines(log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestRunEndsWorkAfterTheGrace(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	code := service.Run(ctx, "tester", nil, []string{"ADMIN_ADDR=127.0.0.1:0", "SHUTDOWN_GRACE=20ms"}, io.Discard, io.Discard, &config{}, func(_ context.Context, p *service.Process, _ *config) error {
		stop()
		<-p.Work.Done()
		return p.Work.Err()
	})
	if code != 1 {
		t.Errorf("a worker that did not end in its grace exits %d, want 1", code)
	}
}
