package node

import (
	"bytes"
	"strings"
	"testing"
)

// TestCometLogger_AHaltIsNoNews: an app that has halted has said why; that
// consensus ends then must not look like a failure of its own.
func TestCometLogger_AHaltIsNoNews(t *testing.T) {
	var out bytes.Buffer
	logger, err := NewLogger(&out, LogConfig{Level: "info", Format: "text"})
	if err != nil {
		t.Fatal(err)
	}
	halted := false
	var fatal []error
	c := cometLogger{l: logger, fatal: func(err error) { fatal = append(fatal, err) }, halted: func() bool { return halted }}
	c.Error(consensusFailure, "err", "a fault")
	if len(fatal) != 1 || !strings.Contains(out.String(), "a fault") {
		t.Errorf("a failure: %v, %s", fatal, out.String())
	}
	out.Reset()
	halted = true
	c.Error(consensusFailure, "err", "nobody answers")
	if len(fatal) != 1 || out.Len() > 0 {
		t.Errorf("after a halt: %v, %s", fatal, out.String())
	}
}
