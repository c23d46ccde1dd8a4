package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	cmtlog "github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/libs/service"

	"github.com/confab-chat/confab/namesvc/wire"
)

// NewLogger returns a logger as the configuration says.
func NewLogger(w io.Writer, c LogConfig) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, wire.Errorf(wire.Invalid, "log.level is %q: use debug, info, warn or error", c.Level)
	}
	if w == nil {
		w = io.Discard
	}
	opts := &slog.HandlerOptions{Level: level}
	switch c.Format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, wire.Errorf(wire.Invalid, "log.format is %q: use text or json", c.Format)
}

// cometLogger gives CometBFT's words one level less than it asks for: its info
// is seven lines a block. What its network modules call errors is mostly peers
// that went away, and counts for two less; what they say whenever a node stops,
// catches up or loses a peer, for three: see routine.
//
// It also notices when consensus has stopped, which CometBFT tells nobody else:
// the rest of the program would run on.
type cometLogger struct {
	l     *slog.Logger
	noisy bool
	fatal func(error)
	// halted reports that the app has stopped by itself and said why: that
	// consensus then finds nobody to answer is no news. nil: it never has.
	halted func() bool
}

// consensusFailure is what CometBFT logs when consensus has stopped by itself.
const consensusFailure = "CONSENSUS FAILURE!!!"

var _ cmtlog.Logger = cometLogger{}

// Debug implements CometBFT's Logger.
func (c cometLogger) Debug(string, ...any) {}

// Info implements CometBFT's Logger.
func (c cometLogger) Info(msg string, kv ...any) { c.say(slog.LevelDebug, msg, kv) }

// Warn implements CometBFT's Logger.
func (c cometLogger) Warn(msg string, kv ...any) { c.say(slog.LevelDebug, msg, kv) }

// Error implements CometBFT's Logger.
func (c cometLogger) Error(msg string, kv ...any) {
	if msg == consensusFailure && c.halted != nil && c.halted() {
		c.say(slog.LevelDebug, "consensus has ended", kv)
		return
	}
	if msg == consensusFailure {
		c.say(slog.LevelError, "consensus stopped by itself", kv)
		c.fatal(consensusError(kv))
		return
	}
	if syncFailure(msg) {
		c.say(slog.LevelError, "joining failed", kv)
		c.fatal(errNoSnapshot)
		return
	}
	switch {
	case routine(msg, kv):
		c.say(slog.LevelDebug, msg, kv)
	case c.noisy:
		c.say(slog.LevelInfo, msg, kv)
	default:
		c.say(slog.LevelWarn, msg, kv)
	}
}

// routine reports whether CometBFT calls something an error that belongs to a day
// without any.
func routine(msg string, kv []any) bool {
	err := cause(kv)
	switch msg {
	case "Stopped accept routine, as transport is closed": // it stops, as it was asked to
		return true
	case "Connection failed @ recvRoutine", "Connection failed @ sendRoutine", "Failed to send PacketPing", "Failed to send PacketPong",
		"Failed to write PacketMsg", "SendTimeout": // "Stopping peer for error" follows, with the same reason
		return true
	case "Failed to add block": // from the second of two peers that were asked for it
		return err != nil && strings.HasPrefix(err.Error(), "got an already committed block")
	}
	// Each part is stopped by whoever knows of it, and the second complains.
	return errors.Is(err, service.ErrAlreadyStopped)
}

// cause returns the error among the attributes of a line, nil if there is none.
func cause(kv []any) error {
	for i := 0; i+1 < len(kv); i += 2 {
		if err, ok := kv[i+1].(error); ok && kv[i] == "err" {
			return err
		}
	}
	return nil
}

// consensusError returns the cause among the attributes of a failure's line.
func consensusError(kv []any) error {
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i] == "err" {
			return fmt.Errorf("consensus stopped by itself: %.300s", fmt.Sprint(kv[i+1]))
		}
	}
	return errors.New("consensus stopped by itself")
}

// say logs if anyone listens: the attributes are costly to format.
func (c cometLogger) say(level slog.Level, msg string, kv []any) {
	if c.l.Enabled(context.Background(), level) {
		c.l.Log(context.Background(), level, msg, kv...)
	}
}

// With implements CometBFT's Logger.
func (c cometLogger) With(kv ...any) cmtlog.Logger {
	for i := 0; i+1 < len(kv); i += 2 {
		if m, ok := kv[i+1].(string); ok && kv[i] == "module" {
			c.noisy = m == "p2p" || m == "pex" || m == "blocksync" || m == "mempool" || m == "statesync"
		}
	}
	c.l = c.l.With(kv...)
	return c
}
