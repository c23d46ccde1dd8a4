package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/wire"
)

const (
	agentLog = "agent.log"
	// maxAgentLog is when a log makes room for a new one; the last one is kept
	// beside it.
	maxAgentLog = 4 << 20
	// maxLastWords is how much of a log is shown when the agent does not start.
	maxLastWords = 2 << 10
	// startAgent is how long an agent may take to be ready, which may include
	// opening a database of years on a machine that is busy.
	startAgent = 5 * time.Minute
)

// self is this program, to be started once more.
type self struct {
	path string // of its file
	name string // by which it was called
}

// runBehind starts the agent as a process of its own and waits until it is
// ready. The passphrase goes to it through a pipe.
func (c *call) runBehind(a *acting, passphrase []byte, home string) error {
	if c.self.path == "" {
		return wire.Errorf(wire.Unavailable, "this program cannot start itself; leave out --background")
	}
	log, from, err := openAgentLog(home)
	if err != nil {
		return err
	}
	defer log.Close()
	top, err := c.home()
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{
		Path:   c.self.path,
		Args:   append([]string{c.self.name}, c.behindArgs(top, a)...),
		Stdin:  bytes.NewReader(append(bytes.Clone(passphrase), '\n')),
		Stderr: log, SysProcAttr: detached(),
	}
	if err := cmd.Start(); err != nil {
		return wire.Errorf(wire.Internal, "start agent: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	agent := localapi.NewClient(home)
	defer agent.Close()
	var ready time.Time // since when it answers
	for until := time.Now().Add(startAgent); ; {
		s, err := agent.Status(c.Ctx())
		if err == nil && ready.IsZero() {
			ready = time.Now()
		}
		settled := s.Concierge.Connected || s.Concierge.Trouble != "" || time.Since(ready) > settling
		if err == nil && settled {
			v := agentView{Self: s, Folder: home}
			return c.Print(v, v.write)
		}
		if err != nil && !errors.Is(err, localapi.ErrNotRunning) {
			cmd.Process.Kill()
			return fmt.Errorf("start agent: %w", err)
		}
		if time.Now().After(until) {
			cmd.Process.Kill()
			return wire.Errorf(wire.Unavailable, "start agent: it was not ready within %v; see %s", startAgent, log.Name())
		}
		select {
		case err := <-ended:
			return lastWords(log.Name(), from, err)
		case <-time.After(pollEvery):
		case <-c.Ctx().Done():
			cmd.Process.Kill()
			return command.ErrStopped
		}
	}
}

// behindArgs is the command line of the process in the background.
func (c *call) behindArgs(home string, a *acting) []string {
	args := []string{
		"agent", "run", "--home", home, "--account", a.account.ID.String(), "--network", a.network,
		"--passphrase-file", "/dev/stdin", "--log", c.String("log"),
	}
	if c.IsSet("hops") {
		args = append(args, "--hops", c.String("hops"))
	}
	if at := c.String("http"); at != "" {
		args = append(args, "--http", at)
	}
	for _, o := range c.StringSlice("origin") {
		args = append(args, "--origin", o)
	}
	return args
}

// openAgentLog opens the log of an agent to be continued, and returns how long it
// is.
func openAgentLog(home string) (*os.File, int64, error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, 0, fmt.Errorf("make agent's folder: %w", err)
	}
	path := filepath.Join(home, agentLog)
	if info, err := os.Stat(path); err == nil && info.Size() > maxAgentLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, 0, fmt.Errorf("make room for the log: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// lastWords is the error of an agent that ended before it was ready: what it
// wrote, with the kind that its exit status tells.
func lastWords(log string, from int64, ended error) error {
	code := wire.Internal
	if exit := (*exec.ExitError)(nil); errors.As(ended, &exit) {
		for k := wire.Invalid; k <= wire.Internal; k++ {
			if k.ExitStatus() == exit.ExitCode() {
				code = k
			}
		}
	}
	f, err := os.Open(log)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, from, maxLastWords))
	if err != nil {
		return err
	}
	text := strings.TrimPrefix(strings.TrimSpace(string(b)), "confab: ")
	if text == "" {
		text = "it ended without a word"
	}
	return wire.Errorf(code, "start agent: %s", text)
}
