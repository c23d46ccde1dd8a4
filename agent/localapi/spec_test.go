package localapi

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/confab-chat/confab/agent/chat"
)

// cells returns the tables' rows of SPEC-localapi by their first cell.
func cells(t *testing.T) map[string][]string {
	b, err := os.ReadFile("../../docs/SPEC-localapi.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "|-") {
			continue
		}
		var row []string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			row = append(row, strings.TrimSpace(cell))
		}
		rows[row[0]] = row[1:]
	}
	return rows
}

// fields returns the JSON names of a shape, with ? after those that may be left
// out if marked is set.
func fields(v any, marked bool) []string {
	var out []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if marked && strings.Contains(rest, "omit") {
			name += "?"
		}
		out = append(out, name)
	}
	return out
}

func split(cell string) []string {
	cell = regexp.MustCompile(` \([a-z]+\)`).ReplaceAllString(cell, "")
	if cell == "" {
		return nil
	}
	return strings.Split(cell, ", ")
}

func TestSpec_ListsAllMethodsAsTheyAre(t *testing.T) {
	spec := cells(t)
	methods := 0
	for name := range spec {
		if strings.Contains(name, "/") {
			methods++
		}
	}
	rows := table(nil, nil)
	if methods != len(rows) {
		t.Errorf("the specification has %d methods, and the table %d", methods, len(rows))
	}
	for _, m := range rows {
		row := spec[m.path]
		if row == nil {
			t.Errorf("%s is not in the specification", m.path)
			continue
		}
		q, err := m.decode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := fields(q, true); row[0] != string(m.kind) || !slices.Equal(split(row[1]), want) {
			t.Errorf("%s is a %s with %q, and the specification says %q", m.path, m.kind, want, row)
		}
	}
}

func TestSpec_ListsAllFieldsOfShapes(t *testing.T) {
	spec := cells(t)
	for name, v := range map[string]any{
		"self": chat.Self{}, "office": chat.Office{}, "backup": chat.Backup{}, "contact": chat.Contact{}, "safety": chat.Safety{}, "message": chat.Message{},
		"reaction": chat.Reaction{}, "file": chat.File{}, "page": chat.Page{}, "device": chat.Device{}, "notice": chat.Notice{},
		"invitation": chat.Invitation{}, "request": chat.LinkRequest{}, "card": Card{}, "unsent": chat.Unsent{},
	} {
		row := spec[name]
		if row == nil {
			t.Errorf("%s is not in the specification", name)
			continue
		}
		if got, want := split(row[0]), fields(v, false); !slices.Equal(got, want) {
			t.Errorf("%s has\n%q, and the specification says\n%q", name, want, got)
		}
	}
}
