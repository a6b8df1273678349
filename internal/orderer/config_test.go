package orderer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/simline/simline/internal/service"
)

// Every fault is named at once, by its variable, and what does not go together is
// refused before it can do harm.
func TestConfigIsChecked(t *testing.T) {
	account := []string{"EIOTCLUB_APP_KEY=1", "EIOTCLUB_APP_SECRET=2"}
	for _, c := range []struct {
		name string
		env  []string
		want []string // of the error; none: it is sound
	}{
		{"the defaults", account, nil},
		{"no account", nil, []string{"no supplier account"}},
		{"a secret is missing", []string{"ESIMFLY_ACCESS_CODE=1"}, []string{"esimfly account default"}},
		{"a call longer than AckWait", append([]string{"SUPPLIER_TIMEOUT=60s", "SHUTDOWN_GRACE=90s"}, account...), []string{"SUPPLIER_TIMEOUT 1m0s is not below ORDER_ACK_WAIT 1m0s"}},
		{"a call longer than the grace", append([]string{"SUPPLIER_TIMEOUT=45s"}, account...), []string{"SHUTDOWN_GRACE 45s is not above SUPPLIER_TIMEOUT 45s"}},
		{"everything at once", []string{"ORDER_CONCURRENCY=0", "ORDER_OUT_OF_STOCK=cry", "ORDER_WAIT_MIN=10m", "SUPPLIER_SETTLE=-1s", "ORDER_SWEEP_INTERVAL=0s"},
			[]string{"ORDER_CONCURRENCY", "ORDER_OUT_OF_STOCK", "ORDER_WAIT_MAX", "SUPPLIER_SETTLE", "ORDER_SWEEP_INTERVAL", "no supplier account"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := service.LoadConfig(c.env, &Config{})
			if len(c.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
		})
	}
}

// A daily limit counts in the currency that it names, and one that is none is refused
// before anything is bought without it.
func TestDailyLimitIsRead(t *testing.T) {
	for text, want := range map[string]string{"500": "500 USD", "500.00": "500 USD", "12.5 EUR": "12.5 EUR", "0": "0 USD",
		"-1": "", "500EUR": "", "500 euro": "", "1e3": "", "500  EUR": "", "all": ""} {
		t.Run(text, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "accounts.yaml")
			yaml := fmt.Sprintf("eiotclub: {default: {app_key: a, app_secret: b, daily_spend_limit: %q}}\nesimfly: {default: {access_code: a, secret_key: b, daily_spend_limit: %q}}\n", text, text)
			if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			var cfg Config
			err := service.LoadConfig([]string{"ACCOUNTS_FILE=" + path}, &cfg)
			if want == "" {
				if err == nil || strings.Count(err.Error(), "daily_spend_limit") != 2 {
					t.Errorf("%v does not name both limits", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			accounts, err := NewAccounts(&cfg, NewMetrics(prometheus.NewRegistry()), func(string, string, int, time.Time) {})
			if err != nil || len(accounts) != 2 {
				t.Fatalf("%d accounts, %v", len(accounts), err)
			}
			for _, a := range accounts {
				if got := a.DailyLimit.Amount.String() + " " + a.DailyLimit.Currency; got != want {
					t.Errorf("%s: %s, want %s", a.Supplier, got, want)
				}
			}
		})
	}
}
