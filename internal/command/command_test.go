package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/internal/command/commandtest"
	"github.com/confab-chat/confab/namesvc/wire"
)

var update = commandtest.UpdateFlag()

// toy is a program with all that programs have.
func toy(w command.World) *command.Program {
	return &command.Program{
		World: w, Name: "toy", Short: "a program for tests", Examples: []string{"toy box open 3"},
		Common: func() []cli.Flag {
			return []cli.Flag{&cli.StringFlag{Name: "home", Usage: "keep everything in `FOLDER`"}}
		},
		Advise: func(err error) string {
			if wire.CodeOf(err) == wire.Unavailable {
				return "wait a while"
			}
			return ""
		},
		Nouns: []command.Noun{{Name: "box", Short: "boxes", Verbs: []command.Verb{
			{
				Name: "open", Args: "N [M]", Short: "open a box", Examples: []string{"toy box open --name red 3"},
				Flags: []cli.Flag{&cli.StringFlag{Name: "name", Usage: "a `NAME`"}, command.Bool("new", "a new one")},
				Run: func(c *command.Call) error {
					if code := c.String("name"); strings.HasPrefix(code, "fail-") {
						return wire.Errorf(wire.CodeNamed(code[5:]), "open box: %s", code)
					}
					c.Say("opening")
					v := struct{ N, Home string }{c.Args().First(), c.Setting("home")}
					return c.Print(v, func(w io.Writer) { command.Row(w, "box", v.N); command.Row(w, "home", v.Home) })
				},
			},
			{Name: "list", Short: "list boxes", Examples: []string{"toy box list"}, Run: func(c *command.Call) error { return c.Usagef("no") }},
			{Name: "close", Args: "[N]", Short: "close a box", Examples: []string{"toy box close"}, Run: func(*command.Call) error { return command.ErrStopped }},
		}}},
	}
}

// small is a program with verbs alone, and single one that does one thing.
func small(w command.World) *command.Program {
	return &command.Program{
		World: w, Name: "small", Short: "verbs alone", Examples: []string{"small run"},
		Verbs: []command.Verb{{Name: "run", Short: "run", Examples: []string{"small run --fast"}, Flags: []cli.Flag{command.Bool("fast", "be quick")},
			Run: func(c *command.Call) error {
				return c.Print(c.Bool("fast"), func(w io.Writer) { fmt.Fprintln(w, c.Bool("fast")) })
			}}},
	}
}

func single(w command.World) *command.Program {
	return &command.Program{
		World: w, Name: "single", Short: "one thing", Long: "It does one thing.", Examples: []string{"single --fast"},
		Flags: []cli.Flag{command.Bool("fast", "be quick")},
		Do: func(c *command.Call) error {
			return c.Print(c.Bool("fast"), func(w io.Writer) { fmt.Fprintln(w, c.Bool("fast")) })
		},
	}
}

func TestPrograms_KeepTheRules(t *testing.T) {
	for name, make := range map[string]func(command.World) *command.Program{"toy": toy, "small": small, "single": single} {
		t.Run(name, func(t *testing.T) { commandtest.Check(t, make, "testdata/"+name+".txt", *update) })
	}
}

type said struct {
	status         int
	stdout, stderr string
}

// world is where a line is run.
type world struct {
	vars     map[string]string
	terminal bool
	stdout   io.Writer
	version  string
}

func (w world) run(make func(command.World) *command.Program, line string) said {
	var stdout, stderr bytes.Buffer
	cw := command.World{
		Stdout: &stdout, Stderr: &stderr, StderrTerminal: w.terminal, Version: w.version,
		Getenv: func(name string) string { return w.vars[name] },
	}
	if w.stdout != nil {
		cw.Stdout = w.stdout
	}
	status := make(cw).Run(context.Background(), strings.Fields(line))
	return said{status, stdout.String(), stderr.String()}
}

func TestRun_PutsResultsOnStdoutAndWordsOnStderr(t *testing.T) {
	for line, want := range map[string]said{
		"toy box open 3":        {0, "box        3\nhome       \n", "opening\n"},
		"toy box open --json 3": {0, `{"N":"3","Home":""}` + "\n", ""},
		"toy --json box open 3": {0, `{"N":"3","Home":""}` + "\n", ""},
		"small run --fast":      {0, "true\n", ""},
		"small run --json":      {0, "false\n", ""},
		"single --fast":         {0, "true\n", ""},
		"single":                {0, "false\n", ""},
	} {
		make := map[string]func(command.World) *command.Program{"toy": toy, "small": small, "single": single}[strings.Fields(line)[0]]
		if got := (world{}).run(make, line); got != want {
			t.Errorf("%s: %+v, want %+v", line, got, want)
		}
	}
}

func TestRun_SuggestsWhatWasMeant(t *testing.T) {
	for line, want := range map[string]string{
		"toy bxo open":                  `toy: there is no command "bxo"; did you mean toy box?`,
		"toy box lsit":                  `toy box: there is no command "lsit"; did you mean toy box list?`,
		"toy box frobnicate":            `toy box: there is no command "frobnicate"; there are open, list, close`,
		"toy box":                       `toy box: what to do? one of open, list, close; see toy box --help`,
		"toy box open --nmae x":         `toy box open: there is no flag --nmae; did you mean --name?`,
		"toy box open --frobnicate":     `toy box open: there is no flag --frobnicate; see toy box open --help`,
		"toy --frobnicate":              `toy: there is no flag --frobnicate; see toy --help`,
		"toy box --json list":           `toy box: there is no flag --json; see toy box --help`,
		"toy box open --name":           `flag needs an argument: -name`,
		"toy box open --json=7":         `invalid boolean value "7"`,
		"toy help":                      `toy: there is no command "help"`,
		"toy box h":                     `toy box: there is no command "h"`,
		"toy box list":                  `toy box list: no`,
		"single --fsat":                 `single: there is no flag --fsat; did you mean --fast?`,
		"single x":                      `single: it takes no arguments, and "x" is one; see single --help`,
		"small rnu":                     `small: there is no command "rnu"; did you mean small run?`,
		"small run --fast --json extra": `"extra" is one`,
	} {
		make := map[string]func(command.World) *command.Program{"toy": toy, "small": small, "single": single}[strings.Fields(line)[0]]
		got := world{}.run(make, line)
		if got.status != command.ExitUsage || got.stdout != "" || !strings.Contains(got.stderr, want) {
			if !strings.Contains(got.stderr, strings.ReplaceAll(want, `"`, `\"`)) { // as JSON
				t.Errorf("%s: %+v, want %q", line, got, want)
			}
		}
	}
}

func TestSetting_IsTheFlagsThenTheVariables(t *testing.T) {
	w := world{vars: map[string]string{"TOY_HOME": "v"}}
	for line, want := range map[string]string{
		"toy box open 3":                   "v",
		"toy --home a box open 3":          "a",
		"toy box open --home b 3":          "b",
		"toy --home a box open --home b 3": "b",
		"toy box open --home= 3":           "",
	} {
		if got := w.run(toy, line); got.stdout != fmt.Sprintf("box        3\nhome       %s\n", want) {
			t.Errorf("%s: %+v, want home %q", line, got, want)
		}
	}
}

func TestErrors_HaveTheStatusOfTheirKind(t *testing.T) {
	for c := wire.Invalid; c <= wire.Internal; c++ {
		advice, inJSON := "", ""
		if c == wire.Unavailable {
			advice, inJSON = "wait a while\n", `,"advice":"wait a while"`
		}
		want := said{c.ExitStatus(), "", fmt.Sprintf("toy: open box: fail-%v\n%s", c, advice)}
		if got := (world{}).run(toy, fmt.Sprintf("toy box open --name fail-%v 3", c)); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		want.stderr = fmt.Sprintf(`{"error":{"code":%q,"text":"open box: fail-%v"%s}}`+"\n", c.String(), c, inJSON)
		if got := (world{}).run(toy, fmt.Sprintf("toy box open --json --name fail-%v 3", c)); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	for err, want := range map[error]int{
		nil: 0, errors.New("x"): 18, command.ErrStopped: 130, context.Canceled: 130, command.Usagef("x"): 2,
		fmt.Errorf("op: %w", wire.Errorf(wire.Unavailable, "no answer: %w", context.Canceled)): 130,
	} {
		fails := func(w command.World) *command.Program {
			p := single(w)
			p.Do = func(*command.Call) error { return err }
			return p
		}
		if got := (world{}).run(fails, "single"); got.status != want {
			t.Errorf("%v: status %d, want %d", err, got.status, want)
		}
	}
}

func TestErrors_NameTheProgramOnce(t *testing.T) {
	for text, want := range map[string]string{"single run: x": "single run: x\n", "--role: x": "single: --role: x\n"} {
		fails := func(w command.World) *command.Program {
			p := single(w)
			p.Do = func(*command.Call) error { return command.Usagef("%s", text) }
			return p
		}
		if got := (world{}).run(fails, "single"); got.stderr != want {
			t.Errorf("%q is reported as %q", text, got.stderr)
		}
	}
}

// full is a full disk or a closed pipe.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestPrint_FailsIfTheResultGoesNowhere(t *testing.T) {
	if got := (world{stdout: full{}}).run(toy, "toy box open 3"); got.status != 18 || !strings.Contains(got.stderr, "print the result: no space left") {
		t.Errorf("%+v", got)
	}
}

func TestPaint_IsForTerminalsAndThoseWhoWantIt(t *testing.T) {
	for name, c := range map[string]struct {
		terminal bool
		vars     map[string]string
		want     bool
	}{
		"terminal":      {true, nil, true},
		"no terminal":   {false, nil, false},
		"NO_COLOR":      {true, map[string]string{"NO_COLOR": "1"}, false},
		"NO_COLOR none": {true, map[string]string{"NO_COLOR": ""}, true},
		"dumb":          {true, map[string]string{"TERM": "dumb"}, false},
	} {
		got := world{terminal: c.terminal, vars: c.vars}.run(toy, "toy box close")
		if strings.Contains(got.stderr, "\x1b[") != c.want || got.status != command.ExitStopped {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestVersion_IsThereIfItIsKnown(t *testing.T) {
	if got := (world{version: "v1.2.3"}).run(toy, "toy --version"); got.status != 0 || !strings.Contains(got.stdout, "v1.2.3") {
		t.Errorf("%+v", got)
	}
	if got := (world{}).run(toy, "toy --help"); strings.Contains(got.stdout, "VERSION") {
		t.Errorf("help tells of a version that nobody knows:\n%s", got.stdout)
	}
}

func TestProgress_ChangesOneLineOnATerminalAndIsQuietWithJSON(t *testing.T) {
	working := func(w command.World) *command.Program {
		p := single(w)
		p.Do = func(c *command.Call) error {
			l := c.Progress()
			l.Step("one")
			l.Step("%s", "two")
			l.Keep("three")
			l.Step("four")
			l.Close()
			l.Close()
			return errors.New("broke")
		}
		return p
	}
	for line, want := range map[string]map[bool]string{
		"single": {
			false: "one\ntwo\nthree\nfour\nsingle: broke\n",
			true:  "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Kthree\n\r\x1b[Kfour\n\x1b[31msingle\x1b[0m: broke\n",
		},
		"single --json": {
			false: `{"error":{"code":"internal","text":"broke"}}` + "\n",
			true:  `{"error":{"code":"internal","text":"broke"}}` + "\n",
		},
	} {
		for terminal, text := range want {
			if got := (world{terminal: terminal}).run(working, line); got.stderr != text {
				t.Errorf("%s, terminal %v: %q, want %q", line, terminal, got.stderr, text)
			}
		}
	}
}

// Work is told of with each try: thousands of lines would be in a log.
func TestProgress_CountsAsOftenAsSomebodyCanUseIt(t *testing.T) {
	counting := func(w command.World) *command.Program {
		p := single(w)
		p.Do = func(c *command.Call) error {
			l := c.Progress()
			for n := range 601 {
				l.Count(time.Unix(0, 0).Add(time.Duration(n)*100*time.Millisecond), "%d", n)
			}
			l.Close()
			return nil
		}
		return p
	}
	for terminal, want := range map[bool]int{false: 2, true: 301} {
		if got := (world{terminal: terminal}).run(counting, "single"); len(strings.FieldsFunc(got.stderr, func(r rune) bool { return r == '\n' || r == '\r' })) != want {
			t.Errorf("terminal %v: %q, want %d of them", terminal, got.stderr, want)
		}
	}
}

func TestJSON_ErrorOfALineThatDoesNotParse(t *testing.T) {
	for _, line := range []string{"toy box open --json", "toy box open 3 --json", "toy bxo --json", "toy box open --json --frobnicate 3", "toy box open -json=true"} {
		got := world{}.run(toy, line)
		var body struct{ Error struct{ Code, Text string } }
		if err := json.Unmarshal([]byte(got.stderr), &body); err != nil || body.Error.Code != "usage" || got.status != 2 || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: %+v (%v)", line, got, err)
		}
	}
	if got := (world{}).run(toy, "toy box open -- --json"); !strings.HasPrefix(got.stderr, "toy box open:") {
		t.Errorf("what comes after -- is no flag: %+v", got)
	}
}
