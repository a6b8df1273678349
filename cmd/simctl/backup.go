package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/simline/simline/internal/bus"
	"github.com/simline/simline/internal/ledger"
	"github.com/simline/simline/internal/operator"
	"github.com/simline/simline/internal/wire"
)

// Files of one stream's copy, as the nats command names them.
const (
	copyMeta = "backup.json"
	copyData = "stream.tar.s2"
)

func backupCommand() *cobra.Command {
	var who *operator.Who
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy every stream and bucket into a new directory (user backup)",
		Long: "Copy every stream and bucket into a directory that is not there yet, the ledger last, while all goes on. What is copied\n" +
			"has card data in clear: it is audited.",
		Example: "  NATS_CREDS=backup.nk simctl backup /backups/$(date +%F) --reason nightly",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := connect()
			if err != nil {
				return err
			}
			defer b.Close()
			if err := os.Mkdir(args[0], 0o700); err != nil {
				return err
			}
			if err := auditOn(cmd.Context(), b, *who, wire.ActStreamsBackup, filepath.Base(args[0]), nil); err != nil {
				return err
			}
			for _, stream := range bus.BackedUp() {
				size, err := backupStream(cmd, b, filepath.Join(args[0], stream), stream)
				if err != nil {
					return err
				}
				say(cmd, "%s: %d bytes", stream, size)
			}
			return nil
		},
	}
	who = whoFlags(cmd)
	return cmd
}

// backupStream writes one copy; what describes it comes last, so that a copy
// without it is known to be cut off.
func backupStream(cmd *cobra.Command, b *bus.Bus, dir, stream string) (size int64, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(filepath.Join(dir, copyData), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	s, err := copyStream(cmd, b, stream, f)
	err = errors.Join(err, f.Sync())
	if info, statErr := f.Stat(); statErr == nil {
		size = info.Size()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	meta, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return 0, err
	}
	return size, os.WriteFile(filepath.Join(dir, copyMeta), meta, 0o600)
}

// copyTries is how often a copy that the server cut off is begun again.
const copyTries = 5

func copyStream(cmd *cobra.Command, b *bus.Bus, stream string, f *os.File) (bus.Snapshot, error) {
	for try := 1; ; try++ {
		s, err := b.Backup(cmd.Context(), stream, f)
		if !errors.Is(err, bus.ErrCutOff) || try == copyTries {
			return s, err
		}
		select {
		case <-time.After(time.Duration(try) * time.Second):
		case <-cmd.Context().Done():
			return s, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return s, err
		}
		if err := f.Truncate(0); err != nil {
			return s, err
		}
	}
}

func restoreCommand() *cobra.Command {
	var who *operator.Who
	cmd := &cobra.Command{
		Use:   "restore DIR",
		Short: "Make streams and buckets of what backup wrote, on a server that has none of them (user backup)",
		Long: "Make streams and buckets of what backup wrote; there must be none of their names. Then every unsettled order of\n" +
			"the ledger is put back under guard. Workers must not run meanwhile: docs/operate.md says what comes before and after.",
		Example: "  NATS_CREDS=backup.nk simctl restore /backups/2026-01-15 --reason \"the cluster's disks are gone\"",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := connect()
			if err != nil {
				return err
			}
			defer b.Close()
			// The audit comes first, so that the restored one tells of the rest.
			// If we die here: some of the streams are there, and the next try is refused by
			// the first of them. It begins again with an empty cluster, as this one did.
			streams := slices.DeleteFunc(bus.BackedUp(), func(s string) bool { return s == bus.StreamAudit })
			for _, stream := range slices.Insert(streams, 0, bus.StreamAudit) {
				if err := restoreStream(cmd, b, filepath.Join(args[0], stream), stream); err != nil {
					return err
				}
				say(cmd, "%s: restored", stream)
				if stream == bus.StreamAudit {
					if err := auditOn(cmd.Context(), b, *who, wire.ActStreamsRestore, filepath.Base(args[0]), nil); err != nil {
						return err
					}
				}
			}
			l, err := ledger.New(b, "simctl")
			if err != nil {
				return err
			}
			defer l.Close()
			n, err := l.Reguard(cmd.Context(), time.Now().UTC())
			if err != nil {
				return err
			}
			say(cmd, "%d unsettled orders put back under guard", n)
			return nil
		},
	}
	who = whoFlags(cmd)
	return cmd
}

func restoreStream(cmd *cobra.Command, b *bus.Bus, dir, stream string) error {
	meta, err := os.ReadFile(filepath.Join(dir, copyMeta))
	if err != nil {
		return fmt.Errorf("no whole copy of %s: %w", stream, err)
	}
	var s bus.Snapshot
	if err := json.Unmarshal(meta, &s); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	f, err := os.Open(filepath.Join(dir, copyData))
	if err != nil {
		return err
	}
	defer f.Close()
	return b.Restore(cmd.Context(), stream, s, f)
}
