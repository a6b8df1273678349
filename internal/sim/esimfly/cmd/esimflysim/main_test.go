package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stopping ends the program as soon as it has said where it listens.
type stopping struct {
	strings.Builder
	stop func()
}

func (s *stopping) Write(p []byte) (int, error) {
	defer s.stop()
	return s.Builder.Write(p)
}

func TestRun(t *testing.T) {
	script := filepath.Join(t.TempDir(), "faults.yaml")
	if err := os.WriteFile(script, []byte("- kind: lost_reply\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	out := &stopping{stop: stop}
	if err := run(ctx, []string{"-addr", "127.0.0.1:0", "-faults", script}, out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "ESIMFLY_BASE_URL=http://127.0.0.1:") {
		t.Errorf("printed %q", out.String())
	}
	for name, args := range map[string][]string{"unknown flag": {"-nope"}, "no script": {"-faults", script + "x"}, "bad address": {"-addr", "nowhere:-1"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
