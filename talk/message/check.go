package message

import (
	"fmt"
	"slices"
	"strings"

	"github.com/confab-chat/confab/namesvc"
)

// What a body must keep to, beyond its encoding. The bounds are in limits.go, the
// rules of text in text.go.

func (b Text) check() error { return checkWords(b.Text) }

func (b Reply) check() error { return firstError(checkTarget(b.To), checkWords(b.Text)) }

func (b Edit) check() error { return firstError(checkTarget(b.To), checkWords(b.Text)) }

func (b Delete) check() error { return checkTarget(b.To) }

func (b Reaction) check() error {
	if b.Emoji == "" {
		return fmt.Errorf("a reaction needs a sign")
	}
	// Joined emoji contain U+200D, which is no control of direction.
	return firstError(checkTarget(b.To), CheckLine(b.Emoji, MaxEmoji))
}

func (b Receipt) check() error {
	if len(b.Reached) == 0 || len(b.Reached) > MaxReceipts {
		return fmt.Errorf("%d authors, want 1 to %d", len(b.Reached), MaxReceipts)
	}
	for i, r := range b.Reached {
		switch {
		case i > 0 && b.Reached[i-1].Author.Compare(r.Author) >= 0:
			return fmt.Errorf("authors are not in rising order")
		case r.Delivered == 0 || r.Delivered > maxSeq || r.Read > r.Delivered:
			return fmt.Errorf("delivered %d and read %d cannot be", r.Delivered, r.Read)
		}
	}
	return nil
}

func (b Typing) check() error {
	if b.Seconds > MaxTyping {
		return fmt.Errorf("%d seconds, at most %d are allowed", b.Seconds, MaxTyping)
	}
	return nil
}

func (r Ref) check() error {
	if r.Size > maxFile {
		return fmt.Errorf("a file of %d bytes is too large", r.Size)
	}
	kind, subtype, ok := strings.Cut(r.Type, "/")
	if !ok || kind == "" || subtype == "" || len(r.Type) > MaxMediaType || strings.ContainsFunc(kind+subtype, notInMediaType) {
		return fmt.Errorf("media type is not of the form type/subtype in lower case")
	}
	return nil
}

// notInMediaType reports whether c has no place in the restricted names of RFC
// 6838 §4.2, of which we take the lower-case form only.
func notInMediaType(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$&-^_.+", c)
}

func (b File) check() error {
	if len(b.Thumbnail) > MaxThumbnail {
		return fmt.Errorf("a thumbnail of %d bytes, at most %d are allowed", len(b.Thumbnail), MaxThumbnail)
	}
	// A name may not lead anywhere when it is saved under it: no folders, and not
	// the two names that are folders.
	if b.Name == "" || b.Name == "." || b.Name == ".." || strings.ContainsAny(b.Name, `/\`) {
		return fmt.Errorf("the file's name cannot be a file's")
	}
	return firstError(b.Ref.check(), CheckLine(b.Name, MaxFileName), CheckText(b.Text, MaxText))
}

func (b Profile) check() error {
	err := firstError(CheckLine(b.Name, MaxLine), CheckText(b.About, MaxAbout))
	if err == nil && b.Avatar != nil {
		err = b.Avatar.check()
	}
	return err
}

func (b ContactRequest) check() error {
	return firstError(b.From.check(), CheckLine(b.Name, MaxLine), CheckText(b.Greeting, MaxAbout), checkReach(b.Reach))
}

func (b ContactAnswer) check() error {
	if !b.Accepted && len(b.Reach) != 0 {
		return fmt.Errorf("a refusal says where to write")
	}
	return firstError(checkTarget(b.To), checkReach(b.Reach))
}

func (b Moved) check() error {
	if b.EntrySeq == 0 {
		return fmt.Errorf("an entry has no sequence 0")
	}
	return firstError(b.Concierge.check(), checkReach(b.Reach))
}

func (b Resend) check() error {
	if len(b.Ranges) == 0 || len(b.Ranges) > MaxRanges {
		return fmt.Errorf("%d ranges, want 1 to %d", len(b.Ranges), MaxRanges)
	}
	for i, r := range b.Ranges {
		if r.From == 0 || r.To < r.From || r.To > maxSeq || r.To-r.From >= MaxResend {
			return fmt.Errorf("range %d to %d cannot be asked for", r.From, r.To)
		}
		if i == 0 {
			continue
		}
		last := b.Ranges[i-1]
		c := last.Author.Compare(r.Author)
		if c > 0 || c == 0 && r.From <= last.To+1 {
			return fmt.Errorf("ranges are not in rising order, or touch")
		}
	}
	return nil
}

func (x Extension) check() error {
	if x.Number < FirstLater {
		return fmt.Errorf("kind %d is no extension", uint16(x.Number))
	}
	return CheckText(x.Shown, MaxText)
}

func (p Party) check() error {
	if p.Generation == 0 || p.Account == (namesvc.AccountID{}) {
		return fmt.Errorf("an account without id or generation")
	}
	return nil
}

func checkTarget(id ID) error {
	if id.IsZero() {
		return fmt.Errorf("the event it is about is missing")
	}
	return nil
}

// checkWords checks a text that must say something.
func checkWords(s string) error {
	if strings.TrimSpace(s) == "" {
		return fmt.Errorf("the text is empty")
	}
	return CheckText(s, MaxText)
}

func checkReach(b []byte) error {
	if len(b) > MaxReach {
		return fmt.Errorf("an address of %d bytes, at most %d are allowed", len(b), MaxReach)
	}
	return nil
}

func firstError(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
