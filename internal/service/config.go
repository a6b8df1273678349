package service

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/caarlos0/env/v11"
)

// LoadConfig fills cfg, a pointer to a struct with env tags, from environ
// ("NAME=value") and validates it. A field tagged secret:"value" may also be
// given as NAME_FILE, the path of a file that holds it. Every fault is reported
// at once.
func LoadConfig(environ []string, cfg Config) error {
	vars := map[string]string{}
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			vars[name] = value
		}
	}
	var faults []error
	for _, f := range fieldsOf(cfg) {
		path, ok := vars[f.name+"_FILE"]
		if f.secret == "" || !ok || path == "" {
			continue
		}
		if vars[f.name] != "" {
			faults = append(faults, fmt.Errorf("%s and %s_FILE are both set", f.name, f.name))
			continue
		}
		value, err := ReadSecret(path)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s_FILE: %w", f.name, err))
			continue
		}
		vars[f.name] = value
	}
	faults = append(faults, parse(cfg, vars), cfg.Validate())
	return errors.Join(faults...)
}

// parse fills cfg. What cannot be read is reported under its variable's name and
// takes its default, so that Validate finds no fault in a value nobody gave.
func parse(cfg Config, vars map[string]string) error {
	err := env.ParseWithOptions(cfg, env.Options{Environment: vars})
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	names := map[string]string{}
	for _, f := range fieldsOf(cfg) {
		names[f.field] = f.name
	}
	var faults []error
	for _, err := range all.Errors {
		var bad env.ParseError
		if !errors.As(err, &bad) || names[bad.Name] == "" {
			faults = append(faults, err)
			continue
		}
		name := names[bad.Name]
		faults = append(faults, fmt.Errorf("%s: not a %s: %w", name, bad.Type, bad.Err))
		delete(vars, name)
	}
	return errors.Join(append(faults, env.ParseWithOptions(cfg, env.Options{Environment: vars}))...)
}

// CheckAddr says what is wrong with the address of a listener, "host:port" or
// ":port", or nil.
func CheckAddr(name, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s %q is not host:port: %w", name, addr, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s %q: the port is not 0 to 65535", name, addr)
	}
	if host != "" && net.ParseIP(host) == nil && strings.ContainsAny(host, " /\\") {
		return fmt.Errorf("%s %q: %q is not a host", name, addr, host)
	}
	return nil
}

// ReadSecret reads a secret from a file of at most 64 KiB; one trailing newline
// is not part of it.
func ReadSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10+1))
	if err != nil {
		return "", err
	}
	if len(b) > 64<<10 {
		return "", fmt.Errorf("%s is over 64 KiB", path)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}

// Field is one setting, for -check and for the generated reference.
type Field struct {
	Name, Default, Desc string
	Secret              bool
	Value               string // as -check shows it
}

// Fields lists the settings of cfg, secrets masked.
func Fields(cfg Config) []Field {
	var out []Field
	for _, f := range fieldsOf(cfg) {
		v := fmt.Sprint(f.value.Interface())
		switch {
		case v == "" || v == "[]":
			v = ""
		case f.secret == "url":
			v = RedactURL(v)
		case f.secret != "":
			v = "****"
		}
		out = append(out, Field{Name: f.name, Default: f.def, Desc: f.desc, Secret: f.secret != "", Value: v})
	}
	return out
}

// PrintConfig writes each setting as NAME=value with its meaning.
func PrintConfig(w io.Writer, cfg Config) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, f := range Fields(cfg) {
		fmt.Fprintf(tw, "%s=%s\t# %s\n", f.Name, f.Value, f.Desc)
	}
	_ = tw.Flush()
}

// RedactURL masks the password of a URL, or of each in a comma separated list,
// and whatever could be a secret in its query.
func RedactURL(s string) string {
	parts := strings.Split(s, ",")
	for i, p := range parts {
		u, err := url.Parse(p)
		if err != nil {
			parts[i] = "****"
			continue
		}
		q := u.Query()
		for name := range q {
			if strings.Contains(strings.ToLower(name), "pass") || strings.Contains(strings.ToLower(name), "secret") {
				q.Set(name, "xxxxx")
				u.RawQuery = q.Encode()
			}
		}
		parts[i] = u.Redacted()
	}
	return strings.Join(parts, ",")
}

type field struct {
	field, name, def, desc, secret string
	value                          reflect.Value
}

func fieldsOf(cfg any) []field {
	var out []field
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		t := v.Type()
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
			switch {
			case name != "":
				out = append(out, field{field: f.Name, name: name, def: f.Tag.Get("envDefault"), desc: f.Tag.Get("desc"), secret: f.Tag.Get("secret"), value: v.Field(i)})
			case f.Type.Kind() == reflect.Struct && f.IsExported():
				walk(v.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(cfg).Elem())
	return out
}
