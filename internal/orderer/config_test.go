package orderer

import (
	"strings"
	"testing"

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
