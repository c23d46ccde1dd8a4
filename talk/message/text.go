package message

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The rules of text. What is refused here never reaches a screen, so whoever
// shows a text need not think of terminals' control sequences.
//
// A text may have several lines, split by newlines. Controls other than newline
// and tab, the Unicode line and paragraph separators, noncharacters and what is
// no UTF-8 are refused. Controls of writing direction are allowed, since people
// need them and paste them; [Display] keeps them from reaching beyond their line.
//
// A line (a name) stands among our own words, where a control of direction could
// turn their meaning round; there it is refused, and so are tabs and newlines,
// and spaces at the ends.

// CheckText reports why s cannot be a text of at most limit bytes.
func CheckText(s string, limit int) error {
	if err := checkSize(s, limit); err != nil {
		return err
	}
	for _, r := range s {
		if r != '\n' && r != '\t' && unprintable(r) {
			return fmt.Errorf("character %U is not allowed in a text", r)
		}
	}
	return nil
}

// CheckLine reports why s cannot be shown within a line of ours.
func CheckLine(s string, limit int) error {
	if err := checkSize(s, limit); err != nil {
		return err
	}
	for _, r := range s {
		if unprintable(r) || directs(r) {
			return fmt.Errorf("character %U is not allowed in a name", r)
		}
	}
	if strings.TrimSpace(s) != s {
		return fmt.Errorf("a name must not begin or end with a space")
	}
	return nil
}

func checkSize(s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%d bytes of text, at most %d are allowed", len(s), limit)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("the text is not UTF-8")
	}
	return nil
}

// unprintable reports whether r has no place in any text, newline and tab apart.
func unprintable(r rune) bool {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return true
	case r&0xfffe == 0xfffe, r >= 0xfdd0 && r <= 0xfdef: // noncharacters
		return true
	}
	return false
}

// directs reports whether r controls the direction of writing.
func directs(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }

// Clean makes a text of what a person typed or pasted: line ends become newlines
// and what [CheckText] refuses is left out. It does not shorten.
func Clean(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n").Replace(strings.ToValidUTF8(s, "\ufffd"))
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unprintable(r) {
			return -1
		}
		return r
	}, s)
}

// Controls of direction (Unicode Standard Annex #9).
const (
	embedLTR    = '\u202a'
	embedRTL    = '\u202b'
	popEmbed    = '\u202c'
	overrideLTR = '\u202d'
	overrideRTL = '\u202e'
	isolateLTR  = '\u2066'
	isolateAuto = '\u2068'
	popIsolate  = '\u2069'
)

// Display returns a text as it is to be shown. Embeddings and overrides, which
// can make a text read backwards, are left out; isolates that a line opens are
// closed at its end, and none is closed that was not opened. So the direction of
// what stands around a line does not depend on it.
func Display(s string) string {
	if !strings.ContainsFunc(s, directs) {
		return s
	}
	var b strings.Builder
	open := 0
	for _, r := range s {
		switch {
		case r == embedLTR, r == embedRTL, r == popEmbed, r == overrideLTR, r == overrideRTL:
			continue
		case r >= isolateLTR && r <= isolateAuto:
			open++
		case r == popIsolate && open == 0:
			continue
		case r == popIsolate:
			open--
		case r == '\n':
			b.WriteString(strings.Repeat(string(popIsolate), open))
			open = 0
		}
		b.WriteRune(r)
	}
	b.WriteString(strings.Repeat(string(popIsolate), open))
	return b.String()
}
