package archiver

import (
	"errors"
	"fmt"
	"time"

	"github.com/simline/simline/internal/service"
	"github.com/simline/simline/internal/warehouse"
)

// Config is archiver's manual.
type Config struct {
	service.Settings

	DSN string `env:"CLICKHOUSE_DSN,required" desc:"clickhouse://user:password@host:9000 or http://user:password@host:8123" secret:"url"`

	// A batch goes when the first of its messages has waited this long, or when it
	// is full. Longer means fewer, larger inserts, which ClickHouse likes; shorter
	// means that BI sees things sooner. Below 200ms parts pile up.
	MaxDelay time.Duration `env:"ARCHIVE_MAX_DELAY" envDefault:"1s" desc:"the longest that a message waits for its batch to fill"`
	MaxRows  int           `env:"ARCHIVE_MAX_ROWS" envDefault:"20000" desc:"messages in a full batch"`
	MaxBytes int           `env:"ARCHIVE_MAX_BYTES" envDefault:"12582912" desc:"bytes of messages in a full batch; five streams hold one or two batches each"`

	// An insert that takes longer is given up as unknown and repeated under the
	// same token.
	InsertTimeout time.Duration `env:"ARCHIVE_INSERT_TIMEOUT" envDefault:"30s" desc:"how long one insert may take"`
	// Only one replica archives a stream at a time.
	LeaseTTL time.Duration `env:"ARCHIVE_LEASE" envDefault:"6s" desc:"how soon another replica takes over from one that died"`
}

// Validate reports every fault of the configuration.
func (c *Config) Validate() error {
	faults := []error{c.Settings.Validate()}
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if db, err := warehouse.Open(c.DSN); err != nil {
		faults = append(faults, err)
	} else {
		faults = append(faults, db.Close())
	}
	if c.MaxDelay <= 0 || c.MaxDelay > time.Hour {
		bad("ARCHIVE_MAX_DELAY %s is not above 0 and at most 1h", c.MaxDelay)
	}
	if c.MaxRows < 1 || c.MaxRows > 100_000 {
		bad("ARCHIVE_MAX_ROWS %d is not 1 to 100000", c.MaxRows)
	}
	if c.MaxBytes < 1<<20 || c.MaxBytes > 256<<20 {
		bad("ARCHIVE_MAX_BYTES %d is not 1 MiB to 256 MiB", c.MaxBytes)
	}
	if c.InsertTimeout < time.Second {
		bad("ARCHIVE_INSERT_TIMEOUT %s is under 1s", c.InsertTimeout)
	}
	if c.LeaseTTL < 2*time.Second {
		bad("ARCHIVE_LEASE %s is under 2s", c.LeaseTTL)
	}
	return errors.Join(faults...)
}
