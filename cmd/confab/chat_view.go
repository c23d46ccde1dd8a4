package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/confab-chat/confab/agent/chat"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/talk/message"
)

// shownLine is a text of others as part of a line of ours: without anything that
// a terminal obeys and without breaks.
func shownLine(s string) string {
	return strings.Join(strings.Fields(message.Display(message.Clean(s))), " ")
}

// shownText is a text of others with the same indentation before each line.
func shownText(s, indent string) string {
	return strings.ReplaceAll(message.Display(message.Clean(strings.TrimRight(s, "\n"))), "\n", "\n"+indent)
}

// when is a time for people.
func (c *call) when(t time.Time) string { return t.In(c.local).Format("2006-01-02 15:04") }

// shortID is as much of a message's id as a person needs to name it again.
const shortID = 6

// indent is below the text of a message: time, id and a name of usual length.
const indent = "                          "

// writeMessage writes a message as a line, or several if its text has more.
func (c *call) writeMessage(w io.Writer, m chat.Message) {
	from := shownLine(m.From)
	if m.Own {
		from = "you"
	}
	line := fmt.Sprintf("%s  %.*s  %s", c.when(m.Time), shortID, m.ID, from)
	if text := messageText(m); text != "" {
		line += ": " + text
	}
	if marks := messageMarks(m); marks != "" {
		line += "  (" + marks + ")"
	}
	fmt.Fprintln(w, line)
}

// messageText is what a message says.
func messageText(m chat.Message) string {
	if m.Deleted {
		return ""
	}
	var parts []string
	if m.Text != "" {
		parts = append(parts, shownText(m.Text, indent))
	}
	if f := m.File; f != nil {
		text := fmt.Sprintf("[file %s, %s]", shownLine(f.Name), size(f.Size))
		if f.Path != "" {
			text = fmt.Sprintf("[file %s, %s, in %s]", shownLine(f.Name), size(f.Size), f.Path)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

// messageMarks is what is to be known of a message beside its text.
func messageMarks(m chat.Message) string {
	var marks []string
	mark := func(is bool, text string) {
		if is {
			marks = append(marks, text)
		}
	}
	mark(m.Unread, "new")
	mark(!m.ReplyTo.IsZero(), fmt.Sprintf("to %.*s", shortID, m.ReplyTo))
	mark(m.Deleted, "deleted")
	mark(m.Edited && !m.Deleted, "edited")
	mark(m.Disputed, "disputed: one of the author's devices wrote two histories")
	for _, r := range m.Reactions {
		mark(true, strings.TrimSpace(fmt.Sprintf("%s %s", shownLine(r.Emoji), more(len(r.By)))))
	}
	mark(m.Delivery != "" && m.Own, string(m.Delivery))
	mark(m.Trouble != "", shownLine(m.Trouble))
	return strings.Join(marks, ", ")
}

func more(n int) string {
	if n < 2 {
		return ""
	}
	return fmt.Sprint(n)
}

// size is a number of bytes for people.
func size(n uint64) string {
	const units = "kMGT"
	if n < 1000 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, unit := float64(n)/1000, 0
	for v >= 1000 && unit < len(units)-1 {
		v, unit = v/1000, unit+1
	}
	return fmt.Sprintf("%.1f %cB", v, units[unit])
}

// officeText says how a concierge is reached.
func officeText(o chat.Office) string {
	if o.Account == (namesvc.AccountID{}) {
		return "none; choose one with confab handle set-concierge"
	}
	name := shownLine(o.Handle)
	if name == "" {
		name = fmt.Sprintf("%.16s…", o.Account)
	}
	state := "connected"
	if !o.Connected {
		state = "not connected"
		if o.Trouble != "" {
			state += ": " + shownLine(o.Trouble)
		}
	}
	if o.Former {
		state += fmt.Sprintf("; left, mail is fetched until %s", o.Until.Format(time.DateOnly))
	}
	return name + ", " + state
}
