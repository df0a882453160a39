// Which of the files that a reader chose or dropped are sent: folders are gone through, and of what lies in them only
// films are taken, as the command line does; a file that was chosen by itself is sent whatever it is called.

const FILM_NAME = /\.(png|jpe?g|dcm|dicom)$/i;
const OTHER_NAME = /.\.(?!\d+$)[^.]+$/; // has a suffix, and none as devices number their films
const ZIP_NAME = /\.zip$/i;
const OF_MACS = "._"; // how macOS names what it knows of a file, beside it
const INDEX = "DICOMDIR"; // of a disc: it begins as a film does
const DICOM_AT = 128;

export function isZip({ file }) {
  return ZIP_NAME.test(file.name);
}

/** Of files of the chooser, or of the chosen folder: {found: [{file, name}], skipped: how many were none}. */
export function gatherChosen(files) {
  return sift([...files].map((file) => ({ file, name: file.webkitRelativePath || file.name, isInFolder: Boolean(file.webkitRelativePath) })));
}

/** Of what was let go over the page. Its entries are there while the event is, so they are taken before anything waits. */
export function gatherDropped(transfer) {
  const dropped = [...transfer.items].filter((item) => item.kind === "file");
  const entries = dropped.map((item) => {
    const entry = item.webkitGetAsEntry?.();
    return entry?.isDirectory ? entry : { file: item.getAsFile(), name: item.getAsFile()?.name };
  });
  return walkAll(entries).then(sift);
}

async function walkAll(entries) {
  const found = [];
  for (const entry of entries) {
    if (entry.isDirectory) found.push(...(await walk(entry)));
    else if (entry.file) found.push(entry);
  }
  return found;
}

/** All files under a folder, by name; what cannot be read is a file of none. */
async function walk(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (let some = [null]; some.length; entries.push(...some)) {
    some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([]))); // a hundred at a time
  }
  const found = [];
  for (const entry of entries.sort((one, other) => (one.name < other.name ? -1 : 1))) {
    if (entry.isDirectory) {
      found.push(...(await walk(entry)));
    } else {
      const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
      found.push({ file, name: entry.fullPath.slice(1), isInFolder: true });
    }
  }
  return found;
}

async function sift(files) {
  const found = [];
  for (const { file, name, isInFolder } of files) {
    if (!isInFolder || (file && (ZIP_NAME.test(file.name) || (await isFilm(file))))) found.push({ file, name });
  }
  return { found, skipped: files.length - found.length };
}

async function isFilm(file) {
  if (file.name.startsWith(OF_MACS) || file.name.toUpperCase() === INDEX) return false;
  if (FILM_NAME.test(file.name)) return true;
  if (OTHER_NAME.test(file.name)) return false;
  return (await file.slice(DICOM_AT, DICOM_AT + 4).text().catch(() => "")) === "DICM";
}
