package ingest

import (
	"os"
	"runtime/debug"
)

// TuneMemory lets the heap, which is small, grow to five times what lives before
// it is collected, up to a limit that keeps the process under 128 MiB: a tenth of
// the processor's time for a few megabytes. GOGC and GOMEMLIMIT, if set, count.
func TuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(112 << 20)
	}
}
