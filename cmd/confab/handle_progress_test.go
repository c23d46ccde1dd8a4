package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

// watching begins to wait for something, on a terminal or not, until ctx ends.
func watching(t *testing.T, ctx context.Context, terminal bool, flags string, body func(*watch) error) (error, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	w := newWorld(t)
	w.clock = time.Now
	e := w.env(&stdout, &stderr)
	e.world.StderrTerminal = terminal
	var err error
	p := newProgram(e)
	p.Do = e.with(func(c *call) error {
		x := c.watch("registering @alice")
		err = x.done(body(x))
		return nil
	})
	p.Nouns = nil
	p.Run(ctx, strings.Fields("confab "+flags))
	return err, stderr.String()
}

func TestWatch_GivesUpOnASilentNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err, said := watching(t, t.Context(), false, "", func(w *watch) error {
			time.Sleep(patience - time.Second) // not long enough
			w.report(agent.Progress{Step: agent.Committing})
			<-w.ctx.Done()
			return w.ctx.Err()
		})
		if wire.CodeOf(err) != wire.Unavailable || !errors.Is(err, errSilent) || time.Since(began) != 2*patience-time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if strings.Count(said, "no news for 10s: is the network running?") != 2 {
			t.Errorf("it said %q", said)
		}
	})
}

func TestWatch_SaysWhatCtrlCMeans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		err, said := watching(t, ctx, true, "", func(w *watch) error {
			w.report(agent.Progress{Step: agent.Sending, Source: "x"})
			stop()
			<-w.ctx.Done()
			return wire.Errorf(wire.Unavailable, "no proof: %w", w.ctx.Err())
		})
		if !errors.Is(err, command.ErrStopped) || !strings.Contains(err.Error(), "registering @alice: stopped; what was sent may still take effect") {
			t.Errorf("the error is %v", err)
		}
		if !strings.HasSuffix(said, "op        sent to x\n") {
			t.Errorf("the line was not ended: %q", said)
		}
	})
}

// TestWatch_KeepsToOneLineOfANarrowTerminal: what wraps cannot be wiped out by
// the next step.
func TestWatch_KeepsToOneLineOfANarrowTerminal(t *testing.T) {
	steps := func(w *watch) error {
		for _, s := range []agent.Step{agent.Working, agent.Committing, agent.Waiting, agent.Revealing, agent.Sending} {
			w.report(agent.Progress{Step: s, Source: "https://a-host-with-a-long-name.example:7780", Expected: 1 << 20, Tries: 1 << 21})
		}
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		_, said := watching(t, t.Context(), true, "", steps)
		for _, line := range strings.Split(strings.TrimSuffix(said, "\n"), "\r\x1b[K") {
			if n := len([]rune(line)); n > 59 && !strings.HasSuffix(line, "\n") {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		if !strings.Contains(said, "-long-name.example:…") {
			t.Errorf("it said %q", said)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if _, said := watching(t, t.Context(), false, "", steps); !strings.Contains(said, "-long-name.example:7780\n") {
			t.Errorf("it is cut where there is no terminal: %q", said)
		}
	})
}

func TestWatch_LeavesOtherErrorsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := wire.Errorf(wire.Exists, "taken")
		if err, _ := watching(t, t.Context(), false, "", func(*watch) error { return no }); err != no {
			t.Errorf("the error became %v", err)
		}
		if err, _ := watching(t, t.Context(), false, "", func(*watch) error { return nil }); err != nil {
			t.Errorf("success became %v", err)
		}
	})
}

func TestWatch_ShowsALineForEachStepOrOneThatChanges(t *testing.T) {
	all := func(w *watch) error {
		for _, p := range []agent.Progress{
			{Step: agent.Working, Expected: 16}, {Step: agent.Working, Tries: 1, Expected: 16}, {Step: agent.Working, Tries: 2, Expected: 16},
			{Step: agent.Committing}, {Step: agent.Waiting, Height: 7}, {Step: agent.Waiting, Height: 8},
			{Step: agent.Revealing}, {Step: agent.Waiting, Height: 9}, {Step: agent.Done, Height: 10},
		} {
			w.report(p)
			time.Sleep(300 * time.Millisecond)
		}
		return nil
	}
	const erase = "\r\x1b[K"
	for name, c := range map[string]struct {
		terminal bool
		flags    string
		want     string
	}{
		"no terminal": {false, "", `work      about 16 tries are needed
commit    sent: the handle is still secret
reveal    sent: the registration is public now
proof     at height 10, after 2.4s
`},
		"terminal": {true, "", erase + "work      about 16 tries are needed" + erase + "work      1 tries, about 16 are needed" +
			erase + "work      2 tries, about 16 are needed" + erase + "work      done after 2 tries\n" +
			erase + "commit    sent: the handle is still secret" + erase + "block     7" + erase + "block     8" +
			erase + "reveal    sent: the registration is public now" + erase + "block     9" +
			erase + "proof     at height 10, after 2.4s\n"},
		"json": {true, "--json", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			if err, said := watching(t, t.Context(), c.terminal, c.flags, all); err != nil || said != c.want {
				t.Errorf("%s: %q, want %q (%v)", name, said, c.want, err)
			}
		})
	}
}
