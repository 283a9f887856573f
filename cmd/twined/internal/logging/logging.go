// Package logging chooses how the daemon's log is written.
package logging

import (
	"io"
	"log/slog"
	"os"
)

// New returns a logger that writes to w. format is "text", "json" or "auto": text for a person at a terminal, JSON for
// whatever else reads it. level is a slog level's name; one that is not known counts as info.
func New(w io.Writer, format, level string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: least}
	if format == "text" || format == "auto" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
