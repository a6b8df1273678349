package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"

	"github.com/goccy/go-yaml"
)

// AccountSettings give the suppliers' accounts: one of each supplier from plain
// variables, under the name "default", or any number from ACCOUNTS_FILE.
type AccountSettings struct {
	AccountsFile      string `env:"ACCOUNTS_FILE" desc:"YAML with the accounts of each supplier by name; instead of the variables below"`
	EIOTCLUBBaseURL   string `env:"EIOTCLUB_BASE_URL" envDefault:"https://oapi.eiotclub.com" desc:"EIOTCLUB's API"`
	EIOTCLUBAppKey    string `env:"EIOTCLUB_APP_KEY" desc:"appkey of the account default"`
	EIOTCLUBAppSecret string `env:"EIOTCLUB_APP_SECRET" desc:"secret of the account default" secret:"value"`
	ESIMFlyBaseURL    string `env:"ESIMFLY_BASE_URL" envDefault:"https://esimfly.net" desc:"eSIMfly's API"`
	ESIMFlyAccessCode string `env:"ESIMFLY_ACCESS_CODE" desc:"access code of the account default"`
	ESIMFlySecretKey  string `env:"ESIMFLY_SECRET_KEY" desc:"secret key of the account default" secret:"value"`
	CDRFTPURL         string `env:"CDR_FTP_URL" desc:"ftp://user:password@host:port/directory of the account default" secret:"url"`
	CDRAccount        string `env:"CDR_ACCOUNT" desc:"the number in the CDR file names of the account default"`
}

// Accounts are the configured accounts by name.
type Accounts struct {
	EIOTCLUB map[string]EIOTCLUBAccount `yaml:"eiotclub"`
	ESIMFly  map[string]ESIMFlyAccount  `yaml:"esimfly"`
}

// EIOTCLUBAccount is one account there.
type EIOTCLUBAccount struct {
	BaseURL       string `yaml:"base_url"`        // left out: EIOTCLUB_BASE_URL
	AppKey        string `yaml:"app_key"`         // given by the supplier; goes with each call
	AppSecret     string `yaml:"app_secret"`      // signs calls and notifications
	AppSecretFile string `yaml:"app_secret_file"` // path of a file with app_secret, instead of it
	// AppSecrets are further secrets that notifications may be signed with,
	// during a rotation. Calls are signed with AppSecret, or with the first.
	AppSecrets []string   `yaml:"app_secrets"`
	CDR        CDRAccount `yaml:"cdr"`
	// DailySpendLimit is the most that is spent in a UTC day, "500.00" (USD) or "500.00 EUR"; empty
	// is none. With it orders are bought only at a price that is told before, in its currency.
	DailySpendLimit string `yaml:"daily_spend_limit"`
	// WebhookPathSecret, if set, must follow the account in a webhook's URL.
	WebhookPathSecret string `yaml:"webhook_path_secret"`
	// WebhookIPs, if set, are the only senders' addresses or networks accepted.
	WebhookIPs []string `yaml:"webhook_ips"`
}

// CDRAccount is where an account's CDR files arrive.
type CDRAccount struct {
	Account string `yaml:"account"` // the number in the file names
	FTPURL  string `yaml:"ftp_url"` // ftp://user:password@host:port/directory
}

// ESIMFlyAccount is one account there.
type ESIMFlyAccount struct {
	BaseURL         string `yaml:"base_url"`          // left out: ESIMFLY_BASE_URL
	AccessCode      string `yaml:"access_code"`       // given by the supplier; goes with each call
	SecretKey       string `yaml:"secret_key"`        // signs calls
	SecretKeyFile   string `yaml:"secret_key_file"`   // path of a file with secret_key, instead of it
	DailySpendLimit string `yaml:"daily_spend_limit"` // "500.00" (USD): the most that is spent in a UTC day; empty is none
}

var accountName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Load reads the accounts and reports every fault at once. Having none at all
// is for the worker to judge.
func (s *AccountSettings) Load() (Accounts, error) {
	a := Accounts{EIOTCLUB: map[string]EIOTCLUBAccount{}, ESIMFly: map[string]ESIMFlyAccount{}}
	if s.AccountsFile == "" {
		if s.EIOTCLUBAppKey != "" || s.EIOTCLUBAppSecret != "" || s.CDRFTPURL != "" {
			a.EIOTCLUB["default"] = EIOTCLUBAccount{AppKey: s.EIOTCLUBAppKey, AppSecret: s.EIOTCLUBAppSecret,
				CDR: CDRAccount{Account: s.CDRAccount, FTPURL: s.CDRFTPURL}}
		}
		if s.ESIMFlyAccessCode != "" || s.ESIMFlySecretKey != "" {
			a.ESIMFly["default"] = ESIMFlyAccount{AccessCode: s.ESIMFlyAccessCode, SecretKey: s.ESIMFlySecretKey}
		}
	} else {
		b, err := os.ReadFile(s.AccountsFile)
		if err != nil {
			return a, fmt.Errorf("ACCOUNTS_FILE: %w", err)
		}
		if err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(&a); err != nil {
			// The library's own text quotes the lines around the fault, secrets and all.
			return a, fmt.Errorf("ACCOUNTS_FILE: %s", yaml.FormatError(err, false, false))
		}
	}
	return a, a.complete(s)
}

// Describe writes a line of comment for each account that can be read, secrets
// masked, for -check.
func (s *AccountSettings) Describe(w io.Writer) {
	a, _ := s.Load() // its faults are Validate's to report
	for _, name := range slices.Sorted(maps.Keys(a.EIOTCLUB)) {
		e := a.EIOTCLUB[name]
		fmt.Fprintf(w, "# account eiotclub/%s: %s, app_key %s, %d secrets ****, CDRs of %q at %q\n", name, RedactURL(e.BaseURL), e.AppKey, len(e.AppSecrets), e.CDR.Account, RedactURL(e.CDR.FTPURL))
	}
	for _, name := range slices.Sorted(maps.Keys(a.ESIMFly)) {
		e := a.ESIMFly[name]
		fmt.Fprintf(w, "# account esimfly/%s: %s, access_code %s, secret_key ****\n", name, RedactURL(e.BaseURL), e.AccessCode)
	}
}

// complete fills in base URLs and secrets from files, and checks the rest.
func (a *Accounts) complete(s *AccountSettings) error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	secret := func(where, value, path string) string {
		if path == "" {
			return value
		}
		if value != "" {
			bad("%s: given both as value and as file", where)
			return value
		}
		v, err := ReadSecret(path)
		if err != nil {
			bad("%s: %w", where, err)
		}
		return v
	}
	numbers := map[string]string{}
	for name, e := range a.EIOTCLUB {
		where := "eiotclub account " + name
		if !accountName.MatchString(name) {
			bad("%s: a name is 1 to 64 of A-Z, a-z, 0-9, _ and -", where)
		}
		e.AppSecret = secret(where+": app_secret", e.AppSecret, e.AppSecretFile)
		if e.AppSecret != "" && !slices.Contains(e.AppSecrets, e.AppSecret) {
			e.AppSecrets = append([]string{e.AppSecret}, e.AppSecrets...)
		}
		if e.AppSecret == "" && len(e.AppSecrets) > 0 {
			e.AppSecret = e.AppSecrets[0]
		}
		if e.BaseURL == "" {
			e.BaseURL = s.EIOTCLUBBaseURL
		}
		if e.CDR.Account != "" {
			if other, twice := numbers[e.CDR.Account]; twice {
				bad("%s: CDR account %s belongs to %s already", where, e.CDR.Account, other)
			}
			numbers[e.CDR.Account] = name
		}
		a.EIOTCLUB[name] = e
	}
	for name, e := range a.ESIMFly {
		where := "esimfly account " + name
		if !accountName.MatchString(name) {
			bad("%s: a name is 1 to 64 of A-Z, a-z, 0-9, _ and -", where)
		}
		e.SecretKey = secret(where+": secret_key", e.SecretKey, e.SecretKeyFile)
		if e.BaseURL == "" {
			e.BaseURL = s.ESIMFlyBaseURL
		}
		a.ESIMFly[name] = e
	}
	return errors.Join(faults...)
}
