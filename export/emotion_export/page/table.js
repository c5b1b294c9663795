// @ts-check
// The results as CSV for spreadsheets, with the columns of `emotion-infer --faces --format csv`.

/** @typedef {import("./emotion-edge.js").FacePrediction} FacePrediction */

/**
 * A picture in the list.
 *
 * @typedef {object} Entry
 * @property {string} name
 * @property {Partial<FacePrediction>[]} [faces] One without a box for a picture that is one face;
 *   none for a photograph without faces.
 * @property {string} [error] Why there is no result.
 */

// First characters of a formula in Excel and LibreOffice, in full width too, and the apostrophe.
const FORMULA = /^[=+\-@\t\r\n＝＋－＠']/;
const BYTE_ORDER_MARK = "\ufeff"; // otherwise Excel shows "Ã¼" for "ü"
const FACE_COLUMNS = ["x", "y", "width", "height", "detection_confidence", "warning"];

/**
 * Return the entries as CSV, a row for each face.
 *
 * @param {Entry[]} entries
 * @param {{labels: string[], otherThreshold?: number, digest: string | null}} model
 * @returns {string}
 */
export function formatCsv(entries, { labels, otherThreshold, digest }) {
  const others = otherThreshold === undefined ? [] : ["other"];
  const lines = [
    ["path", "label", "confidence", ...labels, ...others, "error", ...FACE_COLUMNS, "model_sha256"],
  ];
  for (const { name, faces, error = "" } of entries) {
    const problem = faces || error ? error : "Not finished when the list was saved.";
    for (const face of faces?.length ? faces : [{}]) {
      const { label = "", confidence, probabilities, other, box, detection_confidence, warning } = face;
      lines.push([
        name,
        label,
        formatShare(confidence),
        ...labels.map((one) => formatShare(probabilities?.[one])),
        ...others.map(() => formatShare(other)),
        problem,
        ...(box ?? ["", "", "", ""]).map(String),
        formatShare(detection_confidence),
        warning ?? "",
        digest ?? "",
      ]);
    }
  }
  return BYTE_ORDER_MARK + lines.map((line) => `${line.map(formatCell).join(",")}\n`).join("");
}

/** @param {number} [share] */
const formatShare = (share) => share?.toFixed(6) ?? "";

/**
 * Quote a cell. One that a spreadsheet would run as a formula gets an apostrophe.
 *
 * @param {string} value
 */
function formatCell(value) {
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
