package cdrpull

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/simline/simline/internal/ftpdir"
	"github.com/simline/simline/internal/service"
)

// Config is cdrpull's whole configuration; each field says what it trades.
type Config struct {
	service.Settings
	service.AccountSettings

	ClickHouseDSN string `env:"CLICKHOUSE_DSN" desc:"clickhouse://user:password@host:9000 or http://host:8123" secret:"url"`

	// PollInterval is how often a directory is listed: what a file waits at most
	// before it is seen.
	PollInterval time.Duration `env:"CDR_POLL_INTERVAL" envDefault:"1m" desc:"how often a directory is listed"`
	// SettleInterval is how long a file must look the same before it is read. Too
	// short costs a wasted read of a file that is still being written; what was
	// read half is never kept.
	SettleInterval time.Duration `env:"CDR_SETTLE_INTERVAL" envDefault:"20s" desc:"between two equal looks at a file before it is read"`
	// LateAfter is how long after its end a half hour may stay uncovered before
	// it is a gap. The supplier pushes each half hour about twice, half an hour
	// and an hour after it began.
	LateAfter time.Duration `env:"CDR_LATE_AFTER" envDefault:"90m" desc:"how long after its end an uncovered half hour becomes a gap"`
	// GapHorizon bounds how far back from now the silence after the last file is
	// reported half hour by half hour. Holes between files are always reported.
	GapHorizon time.Duration `env:"CDR_GAP_HORIZON" envDefault:"168h" desc:"how far back silence after the last file is reported as gaps"`
	// MaxRejectShare is the share of bad rows above which a file is not loaded at
	// all but held for a person: such a file is more likely to be something else.
	MaxRejectShare float64 `env:"CDR_MAX_REJECT_SHARE" envDefault:"0.2" desc:"share of bad rows (0 to 1) above which a whole file is held"`
	// AfterLoad says what happens to a loaded file, a minute later, when it is sure
	// that nothing replaced it: keep, delete, or move (into MoveTo, on the same
	// server). What is kept can be read again.
	AfterLoad string `env:"CDR_AFTER_LOAD" envDefault:"keep" desc:"what to do with a loaded file, a minute later: keep, move or delete"`
	MoveTo    string `env:"CDR_MOVE_TO" envDefault:"loaded" desc:"the directory that loaded files are moved to, below the one they lie in"`
	// SealAfter is how long a day must be quiet before the daily marts read its
	// sums instead of its records. Sooner makes dashboards faster and costs a
	// summing of the day each time a late record comes.
	SealAfter time.Duration `env:"CDR_SEAL_AFTER" envDefault:"2h" desc:"how long a day must be quiet before its daily sums are stored"`
	// SpoolDir holds a decoded file while it is judged and loaded: about the
	// file's own size. Empty is the system's temporary directory.
	SpoolDir string `env:"SPOOL_DIR" desc:"where a file is staged while it is loaded; empty is the temporary directory"`
}

// What AfterLoad may be.
const (
	afterKeep   = "keep"
	afterMove   = "move"
	afterDelete = "delete"
)

// account is one account with CDR files.
type account struct {
	name   string // in our configuration
	number string // in the files' names
	dir    *ftpdir.Dir
	url    string // tells which accounts share a directory
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{c.Settings.Validate()}
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.ClickHouseDSN == "" {
		bad("CLICKHOUSE_DSN is empty")
	}
	for name, d := range map[string]time.Duration{
		"CDR_POLL_INTERVAL": c.PollInterval, "CDR_SETTLE_INTERVAL": c.SettleInterval,
		"CDR_LATE_AFTER": c.LateAfter, "CDR_GAP_HORIZON": c.GapHorizon,
	} {
		if d <= 0 {
			bad("%s %s is not above 0", name, d)
		}
	}
	if c.SealAfter < 0 {
		bad("CDR_SEAL_AFTER %s is below 0", c.SealAfter)
	}
	if !(c.MaxRejectShare >= 0 && c.MaxRejectShare <= 1) {
		bad("CDR_MAX_REJECT_SHARE %v is not between 0 and 1", c.MaxRejectShare)
	}
	switch c.AfterLoad {
	case afterKeep, afterDelete:
	case afterMove:
		if c.MoveTo == "" {
			bad("CDR_MOVE_TO is empty although CDR_AFTER_LOAD is move")
		}
	default:
		bad("CDR_AFTER_LOAD %q is not keep, move or delete", c.AfterLoad)
	}
	if c.SpoolDir != "" {
		if st, err := os.Stat(c.SpoolDir); err != nil || !st.IsDir() {
			bad("SPOOL_DIR %s is not a directory", c.SpoolDir)
		}
	}
	accounts, err := c.accounts()
	if err != nil {
		faults = append(faults, err)
	} else if len(accounts) == 0 {
		bad("no account has CDR files: set CDR_FTP_URL and CDR_ACCOUNT, or cdr in ACCOUNTS_FILE")
	}
	return errors.Join(faults...)
}

// accounts are those whose CDR files we load, by name.
func (c *Config) accounts() (map[string]account, error) {
	all, err := c.Load()
	if err != nil {
		return nil, err
	}
	return accountsOf(all)
}

func accountsOf(all service.Accounts) (map[string]account, error) {
	out := map[string]account{}
	var faults []error
	for name, a := range all.EIOTCLUB {
		if a.CDR.FTPURL == "" && a.CDR.Account == "" {
			continue
		}
		if a.CDR.Account == "" {
			faults = append(faults, fmt.Errorf("account %s: the CDR account number is missing (CDR_ACCOUNT, or cdr.account)", name))
			continue
		}
		dir, err := ftpdir.Parse(a.CDR.FTPURL)
		if err != nil {
			faults = append(faults, fmt.Errorf("account %s: CDR directory (CDR_FTP_URL, or cdr.ftp_url): %w", name, err))
			continue
		}
		out[name] = account{name: name, number: a.CDR.Account, dir: dir, url: a.CDR.FTPURL}
	}
	return out, errors.Join(faults...)
}
