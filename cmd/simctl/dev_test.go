package main

import (
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
)

// untilReady ends the command once it has said that it is ready.
type untilReady struct {
	strings.Builder
	stop func()
}

func (u *untilReady) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "# ready") {
		defer u.stop()
	}
	return u.Builder.Write(p)
}

func TestDevPrintsAnEnvironment(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &untilReady{stop: stop}
	cmd := devCommand()
	cmd.SetArgs([]string{"--only", "nats,ftp,eiotclub,esimfly", "--cdr-every", "0", "--webhook-url", "", "--data-dir", t.TempDir()})
	cmd.SetOut(out)
	cmd.SetErr(io.Discard)
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^([A-Z_]+=\S+|# .*)$`)
	names := map[string]bool{}
	for l := range strings.Lines(out.String()) {
		l = strings.TrimSuffix(l, "\n")
		if !line.MatchString(l) {
			t.Errorf("%q is neither NAME=value nor a comment", l)
		}
		name, _, _ := strings.Cut(l, "=")
		names[name] = true
	}
	for _, want := range []string{"NATS_URL", "CDR_FTP_URL", "CDR_ACCOUNT", "EIOTCLUB_BASE_URL", "EIOTCLUB_APP_KEY", "EIOTCLUB_APP_SECRET",
		"ESIMFLY_BASE_URL", "ESIMFLY_ACCESS_CODE", "ESIMFLY_SECRET_KEY"} {
		if !names[want] {
			t.Errorf("%s is not printed", want)
		}
	}
}

func TestDevRefusesUnknownParts(t *testing.T) {
	cmd := devCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs([]string{"--only", "natz"})
	err := cmd.ExecuteContext(t.Context())
	if err == nil || !strings.Contains(err.Error(), `no part "natz"`) {
		t.Errorf("got %v", err)
	}
}
