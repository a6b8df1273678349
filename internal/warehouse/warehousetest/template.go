package warehousetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/simline/simline/internal/devstack/chd"
	"github.com/simline/simline/internal/devstack/dirlock"
	"github.com/simline/simline/internal/warehouse"
	"github.com/simline/simline/schemas"
)

// migratedCopy makes dir a data directory with our schema in place. Migrating
// costs seconds, so it is done once for each state of the migrations and kept in
// the cache; what a test gets is a copy.
func migratedCopy(ctx context.Context, dir string) error {
	cache, err := chd.CacheDir()
	if err != nil {
		return err
	}
	key, err := schemaKey(ctx)
	if err != nil {
		return err
	}
	home := filepath.Join(cache, "migrated", key)
	template := filepath.Join(home, "data")
	if _, err := os.Stat(template); errors.Is(err, fs.ErrNotExist) {
		if err := makeTemplate(ctx, home, template); err != nil {
			return err
		}
	}
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		return fmt.Errorf("copy a migrated data directory: %w", err)
	}
	return nil
}

// makeTemplate is done by one process at a time; the rename at its end is what
// makes it count.
func makeTemplate(ctx context.Context, home, template string) error {
	lock, err := dirlock.Wait(home)
	if err != nil {
		return err
	}
	defer lock.Release()
	if _, err := os.Stat(template); err == nil {
		return nil // another process was faster
	}
	tmp, err := os.MkdirTemp(home, "making-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	s, err := chd.Start(ctx, chd.Config{DataDir: tmp, Progress: os.Stderr, IgnoreDSN: true})
	if err != nil {
		return err
	}
	if err := errors.Join(warehouse.Migrate(ctx, s.DSN(), nil), s.Stop()); err != nil {
		return err
	}
	return os.Rename(tmp, template)
}

// schemaKey changes with any migration and with the engine.
func schemaKey(ctx context.Context) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, chd.Engine(ctx))
	files, err := schemas.ClickHouseFiles()
	if err != nil {
		return "", err
	}
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, name)
		fmt.Fprintf(h, "%s %d\n%s\n", name, len(b), b)
		return err
	})
	return fmt.Sprintf("%x", h.Sum(nil)[:12]), err
}
