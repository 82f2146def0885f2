package outbox

import "strings"

// File is what tests put in the place of a segment's file, Disk in that of the file system.
type (
	File = file
	Disk = disk
)

// OSDisk is the real one.
type OSDisk = osDisk

// CreateFile makes a real file.
var CreateFile = osDisk{}.Create

// segments creates segments' files with a function of its own.
type segments struct {
	osDisk
	create func(path string) (File, error)
}

func (s segments) Create(path string) (file, error) {
	if strings.HasSuffix(path, ".seg") {
		return s.create(path)
	}
	return s.osDisk.Create(path)
}

// OpenOn is Open with segments' files of the test's making.
func OpenOn(dir string, o Options, create func(path string) (File, error)) (*Queue, error) {
	return open(dir, o, segments{create: create})
}

// OpenOnDisk is Open on a disk of the test's making.
func OpenOnDisk(dir string, o Options, d Disk) (*Queue, error) { return open(dir, o, d) }

// ParseAckLog counts ids and the bytes behind the last whole frame.
func ParseAckLog(b []byte) (ids, rest int) {
	rest = parseAckLog(b, func(x []byte) { ids += len(x) / 8 })
	return ids, rest
}
