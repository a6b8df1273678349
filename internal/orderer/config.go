package orderer

import (
	"errors"
	"fmt"
	"time"

	"github.com/simline/simline/internal/service"
)

// Config is orderer's configuration; each field's desc says what it means.
type Config struct {
	service.Settings
	service.AccountSettings
	Timing
	// Concurrency is the number of orders in work per supplier and replica: more
	// hides a supplier's latency, and leaves more orders unknown when it breaks.
	Concurrency int `env:"ORDER_CONCURRENCY" envDefault:"64" desc:"orders in work at once, per supplier and replica (1..1024)"`
	// OutOfStock: wait until there is stock again (or the order expires), or reject.
	OutOfStock string `env:"ORDER_OUT_OF_STOCK" envDefault:"wait" desc:"what becomes of an order that is out of stock: wait or reject"`
}

// Timing is every duration that orderer goes by.
type Timing struct {
	// Timeout must stay below AckWait, or a second worker would take an order up
	// while the first one's call is still under way.
	Timeout      time.Duration `env:"SUPPLIER_TIMEOUT" envDefault:"30s" desc:"bound of one call to a supplier; below ORDER_ACK_WAIT"`
	Settle       time.Duration `env:"SUPPLIER_SETTLE" desc:"how long after a call 'not found' is not believed; 0 takes the supplier's table"`
	LookInterval time.Duration `env:"SUPPLIER_LOOK_INTERVAL" desc:"time between two looks at an order; 0 takes the supplier's table"`
	AckWait      time.Duration `env:"ORDER_ACK_WAIT" envDefault:"60s" desc:"after how long an order that nobody answers for is given to another worker; as given to simctl provision"`
	WaitMin      time.Duration `env:"ORDER_WAIT_MIN" envDefault:"5s" desc:"first wait of an order that was certainly not placed and is tried again"`
	WaitMax      time.Duration `env:"ORDER_WAIT_MAX" envDefault:"5m" desc:"longest such wait; also how long an account with a wrong set-up is left alone"`
	Sweep        time.Duration `env:"ORDER_SWEEP_INTERVAL" envDefault:"5s" desc:"time between two walks through the open orders"`
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{c.Settings.Validate(), c.Timing.validate()}
	if c.Concurrency < 1 || c.Concurrency > 1024 {
		faults = append(faults, fmt.Errorf("ORDER_CONCURRENCY %d is not 1 to 1024", c.Concurrency))
	}
	if c.Grace > 0 && c.Grace <= c.Timeout {
		faults = append(faults, fmt.Errorf("SHUTDOWN_GRACE %s is not above SUPPLIER_TIMEOUT %s: a restart would cut calls off and leave their orders unknown", c.Grace, c.Timeout))
	}
	if c.OutOfStock != "wait" && c.OutOfStock != "reject" {
		faults = append(faults, fmt.Errorf("ORDER_OUT_OF_STOCK %q is not wait or reject", c.OutOfStock))
	}
	accounts, err := c.Load()
	if err != nil {
		faults = append(faults, err)
	} else if len(accounts.EIOTCLUB)+len(accounts.ESIMFly) == 0 {
		faults = append(faults, errors.New("no supplier account: set EIOTCLUB_APP_KEY or ESIMFLY_ACCESS_CODE with their secrets, or ACCOUNTS_FILE"))
	}
	for name, a := range accounts.EIOTCLUB {
		if a.AppKey == "" || a.AppSecret == "" {
			faults = append(faults, fmt.Errorf("eiotclub account %s: app key or secret is missing", name))
		}
		if _, err := dailyLimit(a.DailySpendLimit); err != nil {
			faults = append(faults, fmt.Errorf("eiotclub account %s: %w", name, err))
		}
	}
	for name, a := range accounts.ESIMFly {
		if a.AccessCode == "" || a.SecretKey == "" {
			faults = append(faults, fmt.Errorf("esimfly account %s: access code or secret key is missing", name))
		}
		if _, err := dailyLimit(a.DailySpendLimit); err != nil {
			faults = append(faults, fmt.Errorf("esimfly account %s: %w", name, err))
		}
	}
	return errors.Join(faults...)
}

func (t *Timing) validate() error {
	var faults []error
	above := func(name string, d time.Duration) {
		if d <= 0 {
			faults = append(faults, fmt.Errorf("%s %s is not above 0", name, d))
		}
	}
	above("SUPPLIER_TIMEOUT", t.Timeout)
	above("ORDER_ACK_WAIT", t.AckWait)
	above("ORDER_WAIT_MIN", t.WaitMin)
	above("ORDER_SWEEP_INTERVAL", t.Sweep)
	if t.Timeout >= t.AckWait {
		faults = append(faults, fmt.Errorf("SUPPLIER_TIMEOUT %s is not below ORDER_ACK_WAIT %s: a second worker would take an order up during its call", t.Timeout, t.AckWait))
	}
	if t.WaitMax < t.WaitMin {
		faults = append(faults, fmt.Errorf("ORDER_WAIT_MAX %s is below ORDER_WAIT_MIN %s", t.WaitMax, t.WaitMin))
	}
	if t.Settle < 0 || t.LookInterval < 0 {
		faults = append(faults, errors.New("SUPPLIER_SETTLE or SUPPLIER_LOOK_INTERVAL is below 0"))
	}
	return errors.Join(faults...)
}

// breakerPause is how long an open breaker keeps calls back before one tries.
func (t *Timing) breakerPause() time.Duration { return min(20*time.Second, t.WaitMax) }

// stale is the age at which an intent cannot have a call under way any more.
func (t *Timing) stale() time.Duration { return t.Timeout + min(5*time.Second, t.Timeout) }

// claim is how long a replica that took an open order up is left alone with it:
// the calls it may make one after the other, each bounded.
func (t *Timing) claim() time.Duration { return 3*t.Timeout + min(10*time.Second, t.Timeout) }
