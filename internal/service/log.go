package service

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
)

// NewLogger logs to w as tint's text or as JSON, in UTC.
func NewLogger(w io.Writer, format, level string) *slog.Logger {
	lvl, err := logLevel(level)
	if err != nil {
		lvl = slog.LevelInfo
	}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: lvl}))
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: lvl, TimeFormat: time.TimeOnly}))
}

func logLevel(s string) (slog.Level, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return l, fmt.Errorf("LOG_LEVEL %q is not debug, info, warn or error", s)
	}
	return l, nil
}

// Tail is how a card's number, an EID or a device's number stands in a log:
// its last four characters.
func Tail(s string) string {
	if len(s) <= 4 {
		return "…"
	}
	return "…" + s[len(s)-4:]
}
