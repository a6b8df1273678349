package console

import (
	"errors"
	"fmt"

	"github.com/simline/simline/internal/service"
)

// Config is the page's manual.
type Config struct {
	service.Settings
	Addr string `env:"CONSOLE_ADDR" envDefault:"127.0.0.1:8070" desc:"where the page is served; TLS ends before it"`
	// Token is what a person must know. It is compared in constant time, and a new one
	// ends every session.
	Token string `env:"CONSOLE_TOKEN" desc:"what a person must know to see anything; at least 16 characters" secret:"value"`
	// Write lets people act: resolve, cancel, replay, switch. Without it every
	// mutation is refused. In a cluster it needs the operator's NATS user as well: the
	// page's own can change nothing.
	Write         bool   `env:"CONSOLE_WRITE" envDefault:"false" desc:"let people act, each with who and why"`
	ClickHouseDSN string `env:"CLICKHOUSE_DSN" desc:"clickhouse://user:password@host:port or http://…; reading is enough" secret:"url"`
}

// minToken is the shortest token, in characters.
const minToken = 16

// Validate reports every fault.
func (c *Config) Validate() error {
	faults := []error{c.Settings.Validate(), service.CheckAddr("CONSOLE_ADDR", c.Addr)}
	if len(c.Token) < minToken {
		faults = append(faults, fmt.Errorf("CONSOLE_TOKEN is missing or under %d characters", minToken))
	}
	if c.ClickHouseDSN == "" {
		faults = append(faults, errors.New("CLICKHOUSE_DSN is not set"))
	}
	return errors.Join(faults...)
}
