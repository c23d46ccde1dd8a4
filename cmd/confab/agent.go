package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/agent/localapi"
	"github.com/confab-chat/confab/agent/post"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc/wire"
)

func agentNoun(e *env) command.Noun {
	return command.Noun{Name: "agent", Short: "the program in the background that keeps your conversations", Verbs: []command.Verb{
		agentRun(e), agentStatus(e), agentStop(e),
	}}
}

// agentFlags are those of commands that ask the running agent.
func agentFlags(more ...cli.Flag) []cli.Flag { return append(more, accountFlag(), networkFlag()) }

// agentHome returns the folder of an account's agent on a network. Its name has
// the first digits of the account's id: with all of them, a socket in it would
// often have too long a path.
func (c *call) agentHome(a keyring.Account, network string) (string, error) {
	home, err := c.home()
	if err != nil {
		return "", err
	}
	if home, err = filepath.Abs(home); err != nil {
		return "", err
	}
	return filepath.Join(home, "agents", fmt.Sprintf("%.16s-%s", a.ID, network)), nil
}

// running returns the folder of the agent of the account to act for.
func (c *call) running() (string, error) {
	a, err := c.localAccount()
	if err != nil {
		return "", err
	}
	dir, err := c.networks()
	if err != nil {
		return "", err
	}
	n, err := c.chosen(dir, "")
	if err != nil {
		return "", err
	}
	return c.agentHome(a, n.Name)
}

// asking turns an action that asks the running agent into one of the frame's.
func (e *env) asking(action func(*call, *localapi.Client) error) func(*command.Call) error {
	return e.with(func(c *call) error {
		home, err := c.running()
		if err != nil {
			return err
		}
		agent := localapi.NewClient(home)
		defer agent.Close()
		return action(c, agent)
	})
}

func agentRun(e *env) command.Verb {
	return command.Verb{
		Name:  "run",
		Short: "run your agent until it is interrupted",
		Long: `Runs what sends and receives your messages, keeps them on this machine, and
answers commands such as confab chat read. It has your keys while it runs, so
it asks for the passphrase. Ctrl-C or confab agent stop ends it; what it
promised to send is sent the next time.

With --background it leaves the terminal when it is ready; its log is then in
agent.log of its folder. With --http programs on this machine may use it over
HTTP, with the token in api.token of that folder.

With --hops direct your contacts' concierges see this machine's network
address; with --hops two they see your own concierge's instead, which then
sees which concierges your contacts use. If it does not answer, nobody is
reached. What was chosen last holds until something else is.`,
		Examples: []string{"confab agent run", "confab agent run --background", "confab agent run --hops two", "confab agent run --http 127.0.0.1:7790"},
		Flags: changeFlags(
			command.Bool("background", "leave the terminal once it runs"),
			&cli.StringFlag{Name: "http", Usage: "answer over HTTP too, at `HOST:PORT` of loopback; port 0 is any that is free"},
			&cli.StringSliceFlag{Name: "origin", Usage: "with --http: let in web pages of this `ORIGIN`, such as https://app.example; repeat for more"},
			&cli.StringFlag{Name: "hops", Value: chat.DirectHops, Usage: "reach contacts' concierges this `WAY`: direct, or two, through yours; as the last time if not given"},
			&cli.StringFlag{Name: "log", Value: "info", Usage: "log at this `LEVEL`: debug, info, warn or error"},
		),
		Run: e.with(runAgent),
	}
}

// agentView is a running agent as --json shows it.
type agentView struct {
	chat.Self
	Folder string `json:"folder"`
	HTTP   string `json:"http,omitempty"`
}

func (v agentView) write(w io.Writer) {
	if v.Handle != "" {
		command.Row(w, "handle", v.Handle)
	}
	command.Row(w, "account", v.Account.String())
	command.Row(w, "chain", v.Chain)
	command.Row(w, "concierge", officeText(v.Concierge))
	if v.Hops == chat.TwoHops {
		command.Row(w, "hops", "two: contacts' concierges are reached through yours")
	}
	if v.Waiting > 0 {
		command.Row(w, "waiting", fmt.Sprintf("%s not at their concierge yet", count(v.Waiting, "message")))
	}
	command.Row(w, "backup", backupText(v.Backup))
	command.Row(w, "folder", v.Folder)
	if v.HTTP != "" {
		command.Row(w, "http", v.HTTP)
	}
}

// backupText says in words what the recovery phrase would bring back.
func backupText(b chat.Backup) string {
	switch {
	case b.State == "complete":
		return "complete: your recovery phrase brings contacts and messages back"
	case b.State == "other":
		return "another of your devices keeps it"
	case b.State == "none":
		return "none: this device does not know the recovery phrase's key"
	case b.Trouble != "":
		return "behind: " + b.Trouble
	}
	return "behind: it is being made"
}

// count returns a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func runAgent(c *call) error {
	level, err := c.logLevel()
	if err != nil {
		return err
	}
	if _, err := chat.ParseHops(c.String("hops")); err != nil {
		return c.Usagef("--%v", err)
	}
	if c.IsSet("origin") && !c.IsSet("http") {
		return c.Usagef("--origin goes with --http")
	}
	a, passphrase, err := c.actAgain()
	defer clear(passphrase)
	if err != nil {
		return err
	}
	home, err := c.agentHome(a.account, a.network)
	if err != nil {
		return err
	}
	if _, err := localapi.NewClient(home).Status(c.Ctx()); !errors.Is(err, localapi.ErrNotRunning) {
		if err == nil {
			err = wire.Errorf(wire.Exists, "an agent runs for account %s already; confab agent stop ends it", a.account.Name)
		}
		return err
	}
	if c.Bool("background") {
		return c.runBehind(a, passphrase, home)
	}
	return c.runHere(a, home, slog.New(slog.NewTextHandler(c.Stderr, &slog.HandlerOptions{Level: level})))
}

func (c *call) logLevel() (slog.Level, error) {
	var level slog.Level
	text := c.String("log")
	switch text {
	case "debug", "info", "warn", "error":
		return level, level.UnmarshalText([]byte(strings.ToUpper(text)))
	}
	return level, c.Usagef("--log is %q: it must be debug, info, warn or error", text)
}

// hopsFile is where an agent's folder has the way that was chosen last.
const hopsFile = "hops"

// hops returns how contacts' concierges are to be reached: as --hops says, or else
// as it said the last time, so that nobody shows an address by forgetting a flag.
func (c *call) hops(home string) (post.Hops, error) {
	file := filepath.Join(home, hopsFile)
	if c.IsSet("hops") {
		if err := lightclient.WriteFile(file, []byte(c.String("hops")+"\n")); err != nil {
			return 0, fmt.Errorf("remember --hops: %w", err)
		}
		return chat.ParseHops(c.String("hops"))
	}
	b, err := readFile(file, 16)
	if wire.CodeOf(err) == wire.NotFound {
		return post.Direct, nil
	}
	if err != nil {
		return 0, err
	}
	h, err := chat.ParseHops(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w; say which with --hops", file, err)
	}
	return h, nil
}

// runHere runs the agent in this process until it is stopped.
func (c *call) runHere(a *acting, home string, logger *slog.Logger) (err error) {
	hops, err := c.hops(home)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Ctx())
	defer cancel()
	agent, err := c.openAgent(a, home, hops, logger)
	if err != nil {
		return notYet(err, a.account)
	}
	defer func() { err = errors.Join(err, agent.Close()) }()
	api := localapi.NewServer(localapi.Options{Agent: agent, Stop: cancel, Logger: logger})
	defer api.Close()
	if err := api.Socket(home); err != nil {
		return err
	}
	v := agentView{Folder: home}
	if addr := c.String("http"); addr != "" {
		if v.HTTP, err = api.HTTP(home, addr, c.StringSlice("origin")); err != nil {
			return err
		}
	}
	if v.Self, err = agent.Self(ctx); err != nil {
		return err
	}
	if err := c.Print(v, v.write); err != nil {
		return err
	}
	err = agent.Run(ctx)
	if ctx.Err() != nil {
		err = nil // that is how it ends
	}
	return err
}

// settling is how long an agent that was told to stop may take to close its
// files, and one that starts to reach its concierge before it is shown as it is.
const settling = 5 * time.Second

// openAgent opens the account's conversations, and waits for an agent that is
// about to end.
func (c *call) openAgent(a *acting, home string, hops post.Hops, logger *slog.Logger) (*chat.Agent, error) {
	documents, err := c.profiles(a.account.ID)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(settling); ; {
		agent, err := chat.Open(c.Ctx(), chat.Options{
			Home: home, Documents: documents, Client: a.names.Client, Account: a.account.ID, Keys: a.keys, Hops: hops, Logger: logger, Now: c.now, Rand: c.rand,
		})
		if wire.CodeOf(err) != wire.Unavailable || !time.Now().Before(until) {
			return agent, err
		}
		if err := wait(c.Ctx(), pollEvery); err != nil {
			return nil, err
		}
	}
}

// waitFlag is that of commands that can wait for something to happen.
func waitFlag(what string) cli.Flag {
	return &cli.DurationFlag{Name: "wait", DefaultText: "not at all", Usage: "wait " + what + ", at most this `TIME`, such as 30s or 1h"}
}

// lookAgain is how often whoever waits looks again though nothing was said to have
// happened: not all that changes is told, and what is may be dropped.
const lookAgain = time.Second

// waitFor tries something until it is done: once and, with --wait, again each
// time that something happens, and each second. late says in words what did not
// happen.
func (c *call) waitFor(agent *localapi.Client, late string, done func() (bool, error)) error {
	patience := c.Duration("wait")
	if patience < 0 {
		return c.Usagef("--wait is %v: it must be above 0", patience)
	}
	if patience == 0 {
		_, err := done()
		return err
	}
	ctx, cancel := context.WithTimeout(c.Ctx(), patience)
	defer cancel()
	notices, err := agent.Follow(ctx) // before the first try, so that nothing falls between
	if err != nil {
		return err
	}
	if ok, err := done(); ok {
		return err
	}
	news := make(chan error)
	go func() {
		for _, err := range notices {
			select {
			case news <- err:
			case <-ctx.Done():
				return // which ends the notices too
			}
		}
	}()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		var err error
		select {
		case err = <-news:
		case <-tick.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return wire.Errorf(wire.Unavailable, "%s within %v", late, patience)
		case err != nil:
			return err
		}
		if ok, err := done(); ok {
			return err
		}
	}
}

// pollEvery is how often something of another process is looked at.
const pollEvery = 50 * time.Millisecond

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func agentStatus(e *env) command.Verb {
	return command.Verb{
		Name:     "status",
		Short:    "say whether your agent runs, and how it is connected",
		Examples: []string{"confab agent status", "confab agent status --json"},
		Flags:    agentFlags(),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			self, err := agent.Status(c.Ctx())
			if err != nil {
				return err
			}
			v := agentView{Self: self}
			if v.Folder, err = c.running(); err != nil {
				return err
			}
			return c.Print(v, v.write)
		}),
	}
}

func agentStop(e *env) command.Verb {
	return command.Verb{
		Name:     "stop",
		Short:    "end your agent",
		Long:     "Ends the agent in good order. What it promised to send is sent the next time\nit runs.",
		Examples: []string{"confab agent stop"},
		Flags:    agentFlags(),
		Run: e.asking(func(c *call, agent *localapi.Client) error {
			if err := agent.Stop(c.Ctx()); err != nil {
				return err
			}
			for {
				_, err := agent.Status(c.Ctx())
				if errors.Is(err, localapi.ErrNotRunning) {
					break
				}
				if err := wait(c.Ctx(), pollEvery); err != nil {
					return err
				}
			}
			c.Say("the agent has stopped")
			return c.Print(struct{}{}, func(io.Writer) {})
		}),
	}
}
