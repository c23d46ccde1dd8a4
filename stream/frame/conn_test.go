package frame_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/frame"
)

// buffer is a connection of bytes that nobody is at the other end of.
type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

func TestOver_CarriesFramesOfAllSizes(t *testing.T) {
	b := &buffer{}
	c := frame.Over(b)
	var sent [][]byte
	for _, n := range []int{0, 1, 127, 128, 511, 512, 5000, 70_000, frame.MaxFrame, 3} {
		sent = append(sent, bytes.Repeat([]byte{byte(n)}, n))
	}
	if err := c.WriteFrames(sent); err != nil {
		t.Fatal(err)
	}
	for i, want := range sent {
		got, err := c.ReadFrame(frame.MaxFrame)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("frame %d of %d bytes: %d bytes, %v", i, len(want), len(got), err)
		}
	}
	if _, err := c.ReadFrame(10); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestOver_RefusesWhatIsTooLargeBeforeItMakesRoom(t *testing.T) {
	for name, b := range map[string][]byte{
		"a large frame":   {0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"one byte more":   {11},
		"an endless size": bytes.Repeat([]byte{0xff}, 20),
	} {
		c := frame.Over(&buffer{*bytes.NewBuffer(b)})
		if _, err := c.ReadFrame(10); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		} else if name != "an endless size" && wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := frame.Over(&buffer{*bytes.NewBuffer([]byte{5, 1, 2})})
	if _, err := c.ReadFrame(10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame that was cut: %v", err)
	}
}
