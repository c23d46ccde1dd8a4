// Package commandtest checks that a whole program keeps what package command
// promises of every program: that each command has help with examples that
// parse, refuses flags after arguments, and takes no secret from the command
// line.
//
// Start at [Check].
package commandtest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/command"
)

// Widest lines of help. A terminal has 80 columns. The descriptions of flags,
// which the library sets in one line, and examples may be longer.
const (
	maxText = 80
	maxFlag = 160
)

// leaf is one command that does something.
type leaf struct {
	path string // "confab account new"
	verb *command.Verb
}

// leaves returns all commands of a program that do something, and the paths of
// those that only hold others.
func leaves(p *command.Program) (list []leaf, holders []string) {
	if p.Do != nil {
		return []leaf{{path: p.Name}}, nil
	}
	holders = []string{p.Name}
	for i := range p.Verbs {
		list = append(list, leaf{p.Name + " " + p.Verbs[i].Name, &p.Verbs[i]})
	}
	for _, n := range p.Nouns {
		holders = append(holders, p.Name+" "+n.Name)
		for i := range n.Verbs {
			list = append(list, leaf{p.Name + " " + n.Name + " " + n.Verbs[i].Name, &n.Verbs[i]})
		}
	}
	return list, holders
}

// said is what a command line gave.
type said struct {
	status         int
	stdout, stderr string
}

// Check checks the program that make returns, a new one at each call, in the
// world that it is given. golden is the file with the text of all its help;
// update writes it anew.
func Check(t *testing.T, make func(command.World) *command.Program, golden string, update bool) {
	c := checker{make: make}
	t.Run("help", func(t *testing.T) { c.help(t, golden, update) })
	t.Run("examples", c.examples)
	t.Run("flags after arguments", c.lateFlags)
	t.Run("number of arguments", c.arguments)
	t.Run("flags", c.flags)
	t.Run("errors", c.errors)
}

// UpdateFlag defines the flag -update of a test binary.
func UpdateFlag() *bool { return flag.Bool("update", false, "write testdata anew") }

type checker struct {
	make func(command.World) *command.Program
}

// program returns a program whose commands note that they ran.
func (c checker) program(w command.World, ran *string) *command.Program {
	p := c.make(w)
	list, _ := leaves(p)
	for _, l := range list {
		note := func(*command.Call) error { *ran = l.path; return nil }
		if l.verb == nil {
			p.Do = note
		} else {
			l.verb.Run = note
		}
	}
	return p
}

func (c checker) run(args ...string) (said, string) {
	var stdout, stderr bytes.Buffer
	ran := ""
	p := c.program(command.World{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}, &ran)
	status := p.Run(context.Background(), args)
	return said{status, stdout.String(), stderr.String()}, ran
}

func (c checker) help(t *testing.T, golden string, update bool) {
	list, holders := leaves(c.make(command.World{}))
	paths := holders
	for _, l := range list {
		paths = append(paths, l.path)
	}
	var all strings.Builder
	for _, path := range paths {
		s, _ := c.run(append(strings.Fields(path), "--help")...)
		if s.status != 0 || s.stderr != "" {
			t.Errorf("%s --help: status %d, said %q", path, s.status, s.stderr)
		}
		_, examples, ok := strings.Cut(s.stdout, "Examples:\n")
		if !ok || !strings.HasPrefix(strings.TrimSpace(examples), path) {
			t.Errorf("%s --help has no example of itself:\n%s", path, s.stdout)
		}
		for n, line := range strings.Split(s.stdout, "\n") {
			width, limit := len([]rune(line)), maxText
			if strings.Contains(line, "   --") || strings.HasPrefix(line, "      "+path) {
				limit = maxFlag
			}
			if width > limit {
				t.Errorf("%s --help: line %d has %d characters: %s", path, n+1, width, line)
			}
		}
		fmt.Fprintf(&all, "$ %s --help\n%s\n", path, s.stdout)
	}
	if update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if all.String() != string(want) {
		t.Errorf("the help is not that of %s; look at the difference and run this test with -update", golden)
	}
}

// examples runs every example with its action taken out.
func (c checker) examples(t *testing.T) {
	p := c.make(command.World{})
	list, _ := leaves(p)
	type example struct{ line, path string }
	var all []example
	for _, l := range list {
		lines := p.Examples
		if l.verb != nil {
			lines = l.verb.Examples
		}
		for _, line := range lines {
			all = append(all, example{line, l.path})
		}
	}
	if p.Do == nil {
		for _, line := range p.Examples {
			all = append(all, example{line: line})
		}
	}
	if len(all) < len(list) {
		t.Errorf("there are %d examples for %d commands", len(all), len(list))
	}
	for _, e := range all {
		s, ran := c.run(shellWords(e.line)...)
		if s.status != 0 || ran == "" || (e.path != "" && ran != e.path) {
			t.Errorf("the example %q of %q runs %q: status %d, said %s", e.line, e.path, ran, s.status, s.stderr)
		}
	}
}

// shellWords splits a line as a shell does, as far as examples need it: at
// blanks that are not between double quotes.
func shellWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

func (c checker) lateFlags(t *testing.T) {
	list, _ := leaves(c.make(command.World{}))
	for _, l := range list {
		path := strings.Fields(l.path)
		for _, late := range []string{"--json", "-json", "--home=x", "--unknown", "-", "--"} {
			s, ran := c.run(append(slices.Clone(path), "argument", late)...)
			if s.status != command.ExitUsage || ran != "" || s.stdout != "" || !strings.Contains(s.stderr, "put flags before the arguments") {
				t.Errorf("%s argument %s: status %d, ran %q, said %q", l.path, late, s.status, ran, s.stderr)
			}
			if !strings.Contains(late, "json") && !strings.Contains(s.stderr, l.path+" "+late+" argument") {
				t.Errorf("%s argument %s: it does not show how: %s", l.path, late, s.stderr)
			}
		}
		s, ran := c.run(append(slices.Clone(path), "--", "--json")...)
		if s.status != command.ExitUsage || ran != "" || !strings.Contains(s.stderr, "arguments do not begin with -") {
			t.Errorf("%s -- --json: status %d, ran %q, said %q", l.path, s.status, ran, s.stderr)
		}
	}
}

func (c checker) arguments(t *testing.T) {
	list, _ := leaves(c.make(command.World{}))
	for _, l := range list {
		path, args := strings.Fields(l.path), ""
		if l.verb != nil {
			args = l.verb.Args
		}
		want := strings.Fields(args)
		s, ran := c.run(append(slices.Clone(path), slices.Repeat([]string{"argument"}, len(want)+1)...)...)
		if s.status != command.ExitUsage || ran != "" || !strings.HasPrefix(s.stderr, l.path+":") || !strings.Contains(s.stderr, "--help") {
			t.Errorf("%s with too many arguments: status %d, ran %q, said %q", l.path, s.status, ran, s.stderr)
		}
		if len(want) > 0 && !strings.HasPrefix(want[0], "[") {
			s, ran := c.run(path...)
			if s.status != command.ExitUsage || ran != "" || !strings.Contains(s.stderr, l.path+": it needs "+want[0]) {
				t.Errorf("%s without arguments: status %d, ran %q, said %q", l.path, s.status, ran, s.stderr)
			}
		}
	}
}

func (c checker) flags(t *testing.T) {
	p := c.make(command.World{})
	list, _ := leaves(p)
	for _, l := range list {
		names := []string{"json"}
		flags := p.Flags
		if l.verb != nil {
			flags = l.verb.Flags
		}
		if p.Common != nil {
			flags = append(slices.Clone(flags), p.Common()...)
		}
		for _, f := range flags {
			for _, n := range f.Names() {
				if slices.Contains(names, n) {
					t.Errorf("%s has --%s twice", l.path, n)
				}
				if n == "passphrase" || n == "phrase" || strings.Contains(n, "secret") {
					t.Errorf("%s takes a secret from the command line, as --%s", l.path, n)
				}
				names = append(names, n)
			}
		}
		if s, _ := c.run(append(strings.Fields(l.path), "--help")...); !strings.Contains(s.stdout, "--json ") {
			t.Errorf("%s has no --json", l.path)
		}
	}
}

// errors checks wrong command lines, as text and as JSON.
func (c checker) errors(t *testing.T) {
	p := c.make(command.World{})
	list, holders := leaves(p)
	lines := [][]string{{p.Name, "--frobnicate"}}
	for _, l := range list {
		lines = append(lines, append(strings.Fields(l.path), "--frobnicate"))
	}
	for _, h := range holders {
		lines = append(lines, append(strings.Fields(h), "frobnicate"))
	}
	for _, line := range lines {
		s, ran := c.run(line...)
		if s.status != command.ExitUsage || ran != "" || s.stdout != "" || strings.Count(s.stderr, "\n") != 1 {
			t.Errorf("%s: status %d, ran %q, said %q %q", line, s.status, ran, s.stdout, s.stderr)
		}
		s, _ = c.run(append(slices.Clone(line), "--json")...)
		var body struct{ Error struct{ Code, Text string } }
		if err := json.Unmarshal([]byte(s.stderr), &body); err != nil || s.status != command.ExitUsage || body.Error.Code != "usage" || body.Error.Text == "" || s.stdout != "" {
			t.Errorf("%s --json: status %d, stdout %q, stderr is no error in JSON: %q (%v)", line, s.status, s.stdout, s.stderr, err)
		}
	}
}
