package media_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/confab-chat/confab/stream/chunk"
	"github.com/confab-chat/confab/talk/media"
)

// A sender seals a file, has it kept, and writes the reference into a message.
// Whoever gets the message opens it.
func Example() {
	photo := "not really a photo"
	sealed, err := media.Seal(strings.NewReader(photo), uint64(len(photo)), rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	var kept bytes.Buffer // at a concierge
	if _, err := io.Copy(&kept, io.NewSectionReader(sealed, 0, int64(sealed.Size()))); err != nil {
		fmt.Println(err)
		return
	}
	ref := sealed.Ref("image/png")

	var tree chunk.Tree // whoever keeps it gives out its leaves
	tree.Write(kept.Bytes())
	_, leaves, _ := tree.Sum()
	file, err := media.Open(ref, leaves)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(ref.Size, "bytes of content,", kept.Len(), "sealed")
	if err := file.Copy(os.Stdout, &kept); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 18 bytes of content, 4112 sealed
	// not really a photo
}
