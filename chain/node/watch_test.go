package node

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestReporter_SaysLittle: a line in five minutes while all is well, one soon
// after blocks stop to come, and one when they come again.
func TestReporter_SaysLittle(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1_000_000, 0)
	r := reporter{
		logger: slog.New(slog.NewTextHandler(&out, nil)), peers: func() int { return 3 }, waiting: func() int { return 0 },
		moved: now, told: now,
	}
	height := uint64(0)
	pass := func(seconds int, blocks bool) (lines []string) {
		out.Reset()
		for range seconds {
			now = now.Add(time.Second)
			if blocks {
				height++
			}
			r.report(now, height)
		}
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
	one := func(what string, lines []string, want ...string) {
		t.Helper()
		if len(lines) != 1 {
			t.Errorf("%s: %d lines: %q", what, len(lines), lines)
		}
		for _, w := range want {
			if !strings.Contains(lines[0], w) {
				t.Errorf("%s: %q does not say %q", what, lines[0], w)
			}
		}
	}
	one("ten minutes less a second", pass(599, true), "level=INFO", "chain goes on", "height=300", "blocks=300", "peers=3")
	pass(1, true)
	one("four minutes without blocks", pass(240, false), "level=WARN", "no new block", "for=1m0s", "height=600")
	one("blocks again", pass(60, true), "level=INFO", "chain goes on")
	if lines := pass(200, true); lines[0] != "" {
		t.Errorf("and then: %q", lines)
	}
}

func TestCometLogger_KeepsToWhatAnOperatorWants(t *testing.T) {
	var out bytes.Buffer
	logger, err := NewLogger(&out, LogConfig{Level: "info", Format: "text"})
	if err != nil {
		t.Fatal(err)
	}
	var fatal []string
	c := cometLogger{l: logger, fatal: func(err error) { fatal = append(fatal, err.Error()) }}
	c.Debug("debug")
	c.Info("info")
	c.Warn("warn")
	c.With("module", "p2p").Error("a peer went away")
	if got := strings.Count(out.String(), "\n"); got != 1 || !strings.Contains(out.String(), "level=INFO msg=\"a peer went away\" module=p2p") {
		t.Errorf("%d lines: %s", got, out.String())
	}
	out.Reset()
	c.With("module", "consensus").Error("something")
	if !strings.Contains(out.String(), "level=WARN") {
		t.Errorf("an error of consensus: %s", out.String())
	}
	if len(fatal) > 0 {
		t.Errorf("consensus goes on, and was taken to have failed: %q", fatal)
	}
	c.With("module", "consensus").Error(consensusFailure, "err", "the disk is full", "stack", "goroutine 1")
	if len(fatal) != 1 || !strings.Contains(fatal[0], "the disk is full") || strings.Contains(fatal[0], "goroutine") {
		t.Errorf("%q", fatal)
	}
}
