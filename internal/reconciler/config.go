package reconciler

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/simline/simline/internal/service"
)

// Config is the reconciler's environment.
type Config struct {
	service.Settings
	Accounts service.AccountSettings

	ClickHouseDSN string `env:"CLICKHOUSE_DSN" secret:"url" desc:"clickhouse:// or http://; usage and coverage need it and are left out without it"`

	// The schedules cut time into periods; each period is compared once, Settle
	// after its end. Empty is the job's default; off leaves the job out.
	CronUnsettled     string        `env:"RECON_CRON_UNSETTLED" desc:"schedule of unsettled: cron (UTC), @every 5m, or off; default @every 5m"`
	CronRecords       string        `env:"RECON_CRON_RECORDS" desc:"schedule of records; default @every 1h"`
	CronTasks         string        `env:"RECON_CRON_TASKS" desc:"schedule of tasks; default @every 1m"`
	CronUsage         string        `env:"RECON_CRON_USAGE" desc:"schedule of usage; default 30 5 * * *"`
	CronBalance       string        `env:"RECON_CRON_BALANCE" desc:"schedule of balance; default @every 1h"`
	CronNotifications string        `env:"RECON_CRON_NOTIFICATIONS" desc:"schedule of notifications; default @every 1h"`
	CronCoverage      string        `env:"RECON_CRON_COVERAGE" desc:"schedule of coverage; default @every 30m"`
	CronConflicts     string        `env:"RECON_CRON_CONFLICTS" desc:"schedule of conflicts; default @every 5m"`
	Interval          time.Duration `env:"RECON_INTERVAL" desc:"every job without a schedule of its own runs @every this; 1s or more"`

	// Settle is how long an order may take to look the same on both sides. Lower
	// finds sooner and asks again more often; too low reports what heals by itself.
	Settle time.Duration `env:"RECON_SETTLE" envDefault:"10m" desc:"a difference younger than this is not one yet"`
	// Lookback bounds how old a change may be that a later look still meets.
	Lookback time.Duration `env:"RECON_LOOKBACK" envDefault:"24h" desc:"how far back a card's orders are compared, and where the very first run begins"`
	// Spread: a card that is quiet is still looked at once in so many runs.
	Spread     int           `env:"RECON_SPREAD" envDefault:"12" desc:"quiet cards of the lookback are looked at once in so many runs of records; 0 never"`
	StuckAfter time.Duration `env:"RECON_STUCK_AFTER" envDefault:"1h" desc:"an order or task that is open for longer is reported; waiting orders 24 times as long"`
	Retry      time.Duration `env:"RECON_RETRY" envDefault:"5s" desc:"first pause after a pass that failed; doubles up to 5m"`

	// SupplierZone is the zone of EIOTCLUB's dates: not documented, they look like
	// UTC+8. A wrong zone shifts every filter and every age by hours.
	SupplierZone string `env:"RECON_SUPPLIER_ZONE" envDefault:"+08:00" desc:"zone of EIOTCLUB's dates: an offset or a name such as Asia/Shanghai"`
	// UsageZone is the zone of the days in its traffic sums; CDR times are UTC.
	UsageZone string `env:"RECON_USAGE_ZONE" envDefault:"+00:00" desc:"zone of the days of EIOTCLUB's traffic sums"`
	// UsageTolerance is in bytes per card and day.
	UsageTolerance int64         `env:"RECON_USAGE_TOLERANCE" envDefault:"0" desc:"bytes per card and day by which the sums may differ"`
	LateAfter      time.Duration `env:"CDR_LATE_AFTER" envDefault:"90m" desc:"a CDR window is late when no file covers it so long after its end"`
	BalanceDays    int           `env:"RECON_BALANCE_DAYS" envDefault:"7" desc:"an account whose money ends in fewer days at the present rate is low; 0 never"`

	// PoolPrices: no list of the supplier's tells what a pool's package costs, so that
	// the balance cannot be judged while one was bought, unless it is said here.
	PoolPrices string `env:"RECON_POOL_PRICES" desc:"what pool packages cost in the account's currency, by type: TYPE=12.50,OTHER=3"`

	SupplierTimeout time.Duration `env:"SUPPLIER_TIMEOUT" envDefault:"30s" desc:"bound of one call to a supplier"`
	LeaseTTL        time.Duration `env:"RECON_LEASE_TTL" envDefault:"30s" desc:"a replica that died leaves its job to another after this"`

	once string // --once: do what is due of this job and exit
}

// defaultSchedules are those of jobs that the environment does not give one.
var defaultSchedules = map[string]string{
	JobUnsettled: "@every 5m", JobRecords: "@every 1h", JobTasks: "@every 1m", JobUsage: "30 5 * * *",
	JobBalance: "@every 1h", JobNotifications: "@every 1h", JobCoverage: "@every 30m",
	JobConflicts: "@every 5m",
}

// Flags adds --once.
func (c *Config) Flags(f *flag.FlagSet) func() {
	once := f.String("once", "", "do what is due of this job ("+strings.Join(JobNames, ", ")+"), then exit; for a Kubernetes CronJob")
	return func() { c.once = *once }
}

// Once is the job of --once; empty to run on.
func (c *Config) Once() string { return c.once }

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{c.Settings.Validate()}
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if _, err := c.Accounts.Load(); err != nil {
		faults = append(faults, err)
	}
	if c.Interval != 0 && c.Interval < time.Second {
		bad("RECON_INTERVAL %s is under 1s", c.Interval)
	}
	for _, job := range JobNames {
		if _, _, err := c.Schedule(job); err != nil {
			faults = append(faults, err)
		}
	}
	for name, d := range map[string]time.Duration{"RECON_SETTLE": c.Settle, "CDR_LATE_AFTER": c.LateAfter} {
		if d < 0 || d > 30*24*time.Hour {
			bad("%s %s is not 0 to 720h", name, d)
		}
	}
	for name, d := range map[string]time.Duration{"RECON_LOOKBACK": c.Lookback, "RECON_STUCK_AFTER": c.StuckAfter, "RECON_RETRY": c.Retry, "SUPPLIER_TIMEOUT": c.SupplierTimeout} {
		if d <= 0 || d > 366*24*time.Hour {
			bad("%s %s is not above 0 and at most a year", name, d)
		}
	}
	if c.LeaseTTL < 2*time.Second || c.LeaseTTL > time.Hour {
		bad("RECON_LEASE_TTL %s is not 2s to 1h", c.LeaseTTL)
	}
	if c.Spread < 0 || c.Spread > 100_000 {
		bad("RECON_SPREAD %d is not 0 to 100000", c.Spread)
	}
	if c.UsageTolerance < 0 {
		bad("RECON_USAGE_TOLERANCE is negative")
	}
	if c.BalanceDays < 0 {
		bad("RECON_BALANCE_DAYS is negative")
	}
	for name, zone := range map[string]string{"RECON_SUPPLIER_ZONE": c.SupplierZone, "RECON_USAGE_ZONE": c.UsageZone} {
		if _, err := ParseZone(zone); err != nil {
			bad("%s: %w", name, err)
		}
	}
	if _, err := parsePrices(c.PoolPrices); err != nil {
		bad("RECON_POOL_PRICES: %w", err)
	}
	if c.once != "" && !slices.Contains(JobNames, c.once) {
		bad("--once %q is none of %s", c.once, strings.Join(JobNames, ", "))
	}
	return errors.Join(faults...)
}

// Schedule is a job's schedule; ok is false if it is switched off.
func (c *Config) Schedule(job string) (s Schedule, ok bool, err error) {
	spec := map[string]string{
		JobUnsettled: c.CronUnsettled, JobRecords: c.CronRecords, JobTasks: c.CronTasks, JobUsage: c.CronUsage,
		JobBalance: c.CronBalance, JobNotifications: c.CronNotifications, JobCoverage: c.CronCoverage,
		JobConflicts: c.CronConflicts,
	}[job]
	switch {
	case spec == "off":
		return nil, false, nil
	case spec == "" && c.Interval != 0:
		spec = "@every " + c.Interval.String()
	case spec == "":
		spec = defaultSchedules[job]
	}
	s, err = ParseSchedule(spec)
	if err != nil {
		return nil, false, fmt.Errorf("RECON_CRON_%s: %w", strings.ToUpper(job), err)
	}
	return s, true, nil
}

// parsePrices reads "TYPE=12.50,OTHER=3"; amounts are above zero and exact.
func parsePrices(s string) (map[string]decimal.Decimal, error) {
	out := map[string]decimal.Decimal{}
	for entry := range strings.SplitSeq(s, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, amount, ok := strings.Cut(entry, "=")
		d, err := decimal.NewFromString(amount)
		if !ok || name == "" || err != nil || d.Sign() <= 0 || d.Exponent() < -6 {
			return nil, fmt.Errorf("%q is not TYPE=AMOUNT with an amount above 0 and at most 6 digits behind the point", entry)
		}
		out[name] = d
	}
	return out, nil
}

// ParseZone reads "+08:00", "UTC" or a name of the zone database.
func ParseZone(s string) (*time.Location, error) {
	if t, err := time.Parse("-07:00", s); err == nil {
		_, offset := t.Zone()
		return time.FixedZone(s, offset), nil
	}
	if s == "" || s == "Local" {
		return nil, fmt.Errorf("zone %q is neither an offset like +08:00 nor a name", s)
	}
	loc, err := time.LoadLocation(s)
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	return loc, nil
}
