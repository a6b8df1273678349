package chd

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"

	"github.com/simline/simline/internal/devstack/dirlock"
)

// engineVersion is pinned: what make test proves, it proves of this engine.
const engineVersion = "26.5.3"

// enginePackage is one build of the engine on npm. What it contains is native
// code that we load, so its bytes are pinned, not just its name.
type enginePackage struct {
	name      string
	integrity string // as in npm's dist.integrity
	size      int64  // of the tarball in bytes, for the progress bar
}

// enginePackages by GOOS/GOARCH. Where the integrity is empty nobody has checked
// that build yet: integrityEnv then has to say which bytes are trusted.
var enginePackages = map[string]enginePackage{
	"linux/amd64": {"@chdb/lib-linux-x64-gnu",
		"sha512-fPrLmRt5Moor9yGz4mazbrNje4t7X9KB2mTGkXFWRxRBs2iKy8yh6jx11xsa0Qr3iDFMU/yHqd+bVdYJXu3QaQ==", 166_572_008},
	"linux/arm64":  {name: "@chdb/lib-linux-arm64-gnu"},
	"darwin/arm64": {name: "@chdb/lib-darwin-arm64"},
	"darwin/amd64": {name: "@chdb/lib-darwin-x64"},
}

const (
	cacheEnv     = "SIMLINE_CACHE_DIR"
	integrityEnv = "SIMLINE_ENGINE_INTEGRITY"
	libraryName  = "libchdb.so" // also in the macOS packages
)

// fetchLibrary returns the path of the engine, fetching it if it is not in the
// cache. Two processes that find none fetch it once.
func fetchLibrary(ctx context.Context, out io.Writer) (string, error) {
	pkg, ok := enginePackages[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", fmt.Errorf("there is no engine for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	if pkg.integrity == "" {
		pkg.integrity = os.Getenv(integrityEnv)
	}
	if !strings.HasPrefix(pkg.integrity, "sha512-") {
		return "", fmt.Errorf("the bytes of %s@%s are not pinned for this platform; if you trust what `npm view %s@%s dist.integrity` says, set %s to it",
			pkg.name, engineVersion, pkg.name, engineVersion, integrityEnv)
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	return pkg.library(ctx, filepath.Join(cache, "engine", engineVersion+"-"+runtime.GOOS+"-"+runtime.GOARCH), out)
}

// library is the path of the library in dir, fetched if it is not there.
func (pkg enginePackage) library(ctx context.Context, dir string, out io.Writer) (string, error) {
	lib := filepath.Join(dir, libraryName)
	if _, err := os.Stat(lib); err == nil {
		return lib, nil
	}
	lock, err := dirlock.Wait(dir)
	if err != nil {
		return "", err
	}
	defer lock.Release()
	if _, err := os.Stat(lib); err == nil {
		return lib, nil // another process was faster
	}
	return lib, pkg.fetch(ctx, dir, out)
}

// CacheDir is SIMLINE_CACHE_DIR, or a directory of the user; it lies outside any
// checkout, so that it outlives git clean.
func CacheDir() (string, error) {
	if dir := os.Getenv(cacheEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory (or set %s): %w", cacheEnv, err)
	}
	return filepath.Join(dir, "simline"), nil
}

// fetch has npm fetch the package, checks its bytes, and unpacks the library.
func (pkg enginePackage) fetch(ctx context.Context, dir string, out io.Writer) error {
	tmp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return fmt.Errorf("make a directory to fetch into: %w", err)
	}
	defer os.RemoveAll(tmp)
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("npm is not installed: %w", err)
	}
	fmt.Fprintf(out, "Fetching the ClickHouse engine once: %s@%s (%d MB) into %s\n", pkg.name, engineVersion, pkg.size/1e6, dir)
	tarball, err := pkg.npmPack(ctx, npm, tmp, out)
	if err != nil {
		return err
	}
	if err := verify(tarball, pkg.integrity); err != nil {
		return fmt.Errorf("%s@%s: %w", pkg.name, engineVersion, err)
	}
	unpacked := filepath.Join(tmp, libraryName)
	if err := unpack(tarball, unpacked); err != nil {
		return fmt.Errorf("unpack %s@%s: %w", pkg.name, engineVersion, err)
	}
	// If we die before this rename: the next one starts afresh. After it: the file is whole.
	if err := os.Rename(unpacked, filepath.Join(dir, libraryName)); err != nil {
		return fmt.Errorf("put the engine in place: %w", err)
	}
	return nil
}

// npmPack runs npm, whose settings say where packages come from and how to get
// there, and shows how its download grows.
func (pkg enginePackage) npmPack(ctx context.Context, npm, dir string, out io.Writer) (string, error) {
	// A cache of its own lies where we can watch it, and takes no place afterwards.
	npmCache := filepath.Join(dir, "npm")
	cmd := exec.CommandContext(ctx, npm, "pack", pkg.name+"@"+engineVersion, "--pack-destination", dir, "--cache", npmCache, "--loglevel", "error")
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	var said tail
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	bar := startBar(out, pkg, dir)
	err := cmd.Run()
	bar(err == nil)
	if err != nil {
		return "", fmt.Errorf("npm pack %s@%s: %w\n%s", pkg.name, engineVersion, err, said.String())
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("npm pack %s@%s left %d tarballs", pkg.name, engineVersion, len(found))
	}
	return found[0], nil
}

// startBar shows how many bytes lie under dir until the returned function is
// called.
func startBar(out io.Writer, pkg enginePackage, dir string) (stop func(ok bool)) {
	pw := progress.NewWriter()
	pw.SetOutputWriter(out)
	pw.SetUpdateFrequency(200 * time.Millisecond)
	pw.SetAutoStop(false)
	pw.SetNumTrackersExpected(1)
	t := &progress.Tracker{Message: pkg.name, Total: max(pkg.size, 1), Units: progress.UnitsBytes}
	pw.AppendTracker(t)
	rendered := make(chan struct{})
	go func() { defer close(rendered); pw.Render() }()
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				t.SetValue(min(bytesUnder(dir), t.Total-1)) // the last byte is npm's to report
			}
		}
	}()
	return func(ok bool) {
		close(done)
		<-watched
		if ok {
			t.MarkAsDone()
		} else {
			t.MarkAsErrored()
		}
		for !pw.IsRenderInProgress() {
			select {
			case <-rendered:
				return
			default:
			}
		}
		pw.Stop()
		<-rendered
	}
}

func bytesUnder(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil // files come and go under npm's hands
	})
	return n
}

var errIntegrity = errors.New("the bytes are not those that are pinned; nothing was installed")

func verify(tarball, integrity string) error {
	f, err := os.Open(tarball)
	if err != nil {
		return fmt.Errorf("open the tarball: %w", err)
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read the tarball: %w", err)
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(h.Sum(nil)); got != integrity {
		return fmt.Errorf("%w\n  pinned  %s\n  fetched %s", errIntegrity, integrity, got)
	}
	return nil
}

// unpack takes the library, and nothing else, out of the tarball.
func unpack(tarball, to string) error {
	f, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for tr := tar.NewReader(z); ; {
		hd, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("no %s in it", libraryName)
		}
		if err != nil {
			return err
		}
		if hd.Name != "package/"+libraryName || hd.Typeflag != tar.TypeReg {
			continue
		}
		out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, tr)
		return errors.Join(err, out.Sync(), out.Close())
	}
}
