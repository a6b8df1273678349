package service

import (
	"os"
	"runtime/debug"
)

// TuneMemory lets a heap that is small grow to five times what lives before it is
// collected, up to a limit that keeps the process under 128 MiB: a tenth of the
// processor's time for a few megabytes. GOGC and GOMEMLIMIT, if set, count. It
// returns what takes it back, for programs that live on.
func TuneMemory() (undo func()) {
	percent, limit := -1, int64(-1)
	if os.Getenv("GOGC") == "" {
		percent = debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		limit = debug.SetMemoryLimit(112 << 20)
	}
	return func() {
		if percent >= 0 {
			debug.SetGCPercent(percent)
		}
		if limit >= 0 {
			debug.SetMemoryLimit(limit)
		}
	}
}
