package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cometbft/cometbft/libs/service"
)

// TestCometLogger_SaysWhatAnOperatorWantsToKnow gives the adapter what CometBFT calls
// errors: what belongs to every stop, every catching up and every lost peer is for
// debugging, a lost peer is told once, and whatever might need somebody stays.
func TestCometLogger_SaysWhatAnOperatorWantsToKnow(t *testing.T) {
	for _, c := range []struct {
		module, msg string
		err         error
		want        string // level, or nothing if it is not said at info
	}{
		{"blocksync", "Error stopping pool", service.ErrAlreadyStopped, ""},
		{"p2p", "error stopping peer", service.ErrAlreadyStopped, ""},
		{"p2p", "Stopped accept routine, as transport is closed", nil, ""},
		{"p2p", "Connection failed @ recvRoutine", io.EOF, ""},
		{"blocksync", "SendTimeout", nil, ""},
		{"blocksync", "Failed to add block", errors.New("got an already committed block #21 (possibly from the slow peer x)"), ""},

		{"p2p", "Stopping peer for error", io.EOF, "INFO"},
		{"blocksync", "Error stopping pool", errors.New("disk full"), "INFO"},
		{"blocksync", "Failed to add block", errors.New("peer sent us a block we did not expect"), "INFO"},
		{"p2p", "Accept on transport errored", io.EOF, "INFO"},
		{"statesync", "Failed to load chunk", io.ErrUnexpectedEOF, "INFO"},
		{"consensus", "failed writing to WAL", io.ErrShortWrite, "WARN"},
		{"state", "failed to prune blocks", io.ErrShortWrite, "WARN"},
		{"consensus", consensusFailure, io.ErrShortWrite, "ERROR"},
	} {
		var out bytes.Buffer
		logger, err := NewLogger(&out, LogConfig{Level: "info", Format: "text"})
		if err != nil {
			t.Fatal(err)
		}
		l := cometLogger{l: logger, fatal: func(error) {}}.With("module", c.module)
		kv := []any{"peer", "x"}
		if c.err != nil {
			kv = append(kv, "err", c.err)
		}
		l.Error(c.msg, kv...)
		l.Info("seven of these come with each block")
		got := out.String()
		if c.want == "" && got != "" || c.want != "" && !strings.Contains(got, "level="+c.want) {
			t.Errorf("%s: %s (%v) is said like this: %q, want level %q", c.module, c.msg, c.err, got, c.want)
		}
		if c.err != nil && c.want != "" && !strings.Contains(got, fmt.Sprint(c.err)) {
			t.Errorf("%s: the cause is not said: %q", c.msg, got)
		}
	}
}
