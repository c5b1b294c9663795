// Written by scripts/javascript_types.py from emotion-edge.js.
/**
 * Return whether a picture of this size is probably a whole photograph, not the crop of a face, by
 * the rule of the hint of `emotion-infer`.
 *
 * @param {number} width
 * @param {number} height
 */
export function looksLikePhotograph(width: number, height: number): boolean;
/** A model file in a worker that passed its self-test in this browser. */
export class EmotionEdge {
    /**
     * Load a model file, and run its self-test in this browser.
     *
     * @param {object} options
     * @param {string | URL | ArrayBuffer | Uint8Array} options.model Address or content of the model file.
     * @param {string | URL | ArrayBuffer | Uint8Array} [options.detector] Address or content of the face
     *   detector; detector/retinaface.onnx.gz beside this file by default. Loaded when it is first needed.
     * @param {string | URL} [options.runtime] Address of the folder with onnxruntime-web; ort/ beside
     *   this file by default.
     * @param {OnProgress} [options.onProgress]
     * @param {AbortSignal} [options.signal] Ends the loading.
     * @returns {Promise<EmotionEdge>}
     * @throws {Error} The browser lacks a feature, a file cannot be loaded, is damaged or has an unknown
     *   contract version, or the self-test fails; the message is one sentence for the user.
     */
    static open({ model, detector, runtime, onProgress, signal }: {
        model: string | URL | ArrayBuffer | Uint8Array;
        detector?: string | ArrayBuffer | Uint8Array<ArrayBufferLike> | URL | undefined;
        runtime?: string | URL | undefined;
        onProgress?: OnProgress | undefined;
        signal?: AbortSignal | undefined;
    }): Promise<EmotionEdge>;
    /**
     * Create it with `EmotionEdge.open`.
     *
     * @private
     * @param {Client} client
     * @param {Model} model
     * @param {SelfTest} selfTest
     */
    private constructor();
    /** What is known about the model file. */
    model: Model;
    /** Names of the classes, in the order of the model. */
    labels: string[];
    /** The result of the self-test. */
    selfTest: SelfTest;
    /**
     * Classify a picture of one face, as `emotion-infer` does: its central square is the face.
     *
     * @param {Picture} picture
     * @param {{signal?: AbortSignal}} [options]
     * @returns {Promise<PicturePrediction>}
     * @throws {Error} The picture cannot be read; the message is one sentence for the user.
     */
    classify(picture: Picture, { signal }?: {
        signal?: AbortSignal;
    }): Promise<PicturePrediction>;
    /**
     * Find and classify the faces of a photograph, as `emotion-infer --faces` does.
     *
     * @param {Picture} picture
     * @param {object} [options]
     * @param {number} [options.threshold] Confidence threshold of the detector, 0 to 1; 0.6 by default.
     * @param {number} [options.minFace] Height in pixels of the smallest face to search for, at least
     *   12; by default 40, in large pictures more.
     * @param {AbortSignal} [options.signal]
     * @returns {Promise<Faces>} The faces from left to right; empty where there is none.
     * @throws {Error} The picture or the detector cannot be read; the message is one sentence for the
     *   user.
     */
    faces(picture: Picture, { threshold, minFace, signal }?: {
        threshold?: number | undefined;
        minFace?: number | undefined;
        signal?: AbortSignal | undefined;
    }): Promise<Faces>;
    /**
     * Follow the faces of a playing video or camera, frame by frame. Frames that come while one is
     * processed are left out. It ends with the video, by `break`, or when `signal` aborts.
     *
     * Faces are detected in one of `detectEvery` frames, in a picture reduced to 320 pixels (240 where
     * frames take over 80 ms); between them boxes move on at constant velocity.
     *
     * @param {HTMLVideoElement} video
     * @param {object} [options]
     * @param {number} [options.detectEvery] Detect faces in one frame of this many; 3 by default.
     * @param {number} [options.threshold] Confidence threshold of the detector, 0 to 1; 0.6 by default.
     * @param {AbortSignal} [options.signal]
     * @returns {AsyncGenerator<WatchedFrame, void, void>}
     * @throws {Error} The detector cannot be read; the message is one sentence for the user.
     */
    watch(video: HTMLVideoElement, { detectEvery, threshold, signal }?: {
        detectEvery?: number | undefined;
        threshold?: number | undefined;
        signal?: AbortSignal | undefined;
    }): AsyncGenerator<WatchedFrame, void, void>;
    /** End the worker; what is not finished is rejected. */
    close(): void;
    #private;
}
/**
 * A picture: an encoded file, or decoded pixels. It is neither changed nor closed.
 */
export type Picture = Blob | ImageBitmap | ImageData | HTMLCanvasElement | OffscreenCanvas | HTMLImageElement | HTMLVideoElement;
/**
 * Called while files are loaded.
 */
export type OnProgress = (progress: {
    file: string;
    loaded: number;
    total: number | null;
}) => void;
/**
 * The result of one face.
 */
export type Prediction = {
    /**
     * The most probable class; "other" where the face shows none of the labels,
     * "uncertain" below the confidence threshold of the model file.
     */
    label: string;
    /**
     * Probability of the most probable class, 0 to 1; of "other" the value
     * of `other`.
     */
    confidence: number;
    /**
     * Probability of each class; they add up to 1,
     * whatever `other` is.
     */
    probabilities: Record<string, number>;
    /**
     * Probability that the face shows none of the labels, 0 to 1; only for
     * model files with this output.
     */
    other?: number | undefined;
    /**
     * Input of the network: gray, `edge.model.size` squared, row by row.
     */
    pixels: Uint8Array;
};
/**
 * Width and height of the upright
 *   picture in pixels, and the time to read the picture and to run the network.
 */
export type PicturePrediction = Prediction & {
    width: number;
    height: number;
    milliseconds: {
        read: number;
        network: number;
    };
};
/**
 * The bounding box is x, y, width and height in whole pixels
 *   of the upright picture, clipped to it. The warning is "small face" where the face has fewer than
 *   24 pixels of height in the decoded picture, so that its label is less reliable.
 */
export type FacePrediction = Prediction & {
    box: [number, number, number, number];
    detection_confidence: number;
    warning: string | null;
};
/**
 * Width and height of the upright photograph, and the height of the
 *   smallest face that was searched for, in pixels; the degrees by which the photograph was turned
 *   anticlockwise to find the faces.
 */
export type Faces = FacePrediction[] & {
    width: number;
    height: number;
    smallestFace: number;
    turn: 0 | 90 | 180 | 270;
};
/**
 * `face` is the number of the face in the video,
 *   from 1. In a frame that was not searched, the box is predicted and `detection_confidence` is null.
 */
export type FrameFace = Omit<FacePrediction, "detection_confidence"> & {
    face: number;
    detection_confidence: number | null;
};
/**
 * One frame of a video.
 */
export type WatchedFrame = {
    /**
     * Number of the frame, from 0; frames that were not processed in time are
     * not counted.
     */
    frame: number;
    /**
     * Seconds since the first frame.
     */
    time: number;
    /**
     * Width of the frame in pixels.
     */
    width: number;
    /**
     * Height of the frame in pixels.
     */
    height: number;
    /**
     * The faces, from left to right.
     */
    faces: FrameFace[];
    /**
     * Whether faces were detected in this frame, or boxes carried on.
     */
    searched: boolean;
    /**
     * Long side of the picture in which faces are detected, in pixels.
     */
    detectionSide: number;
    /**
     * Time to process the frame.
     */
    milliseconds: number;
    /**
     * Frames a second, over the last second.
     */
    framesPerSecond: number;
};
/**
 * What is known about the model file.
 */
export type Model = {
    /**
     * Name of the file without its suffix; null for an ArrayBuffer.
     */
    name: string | null;
    /**
     * SHA-256 of the file, hexadecimal; null where the browser computes
     * none (a page over plain http).
     */
    digest: string | null;
    /**
     * Names of the classes.
     */
    labels: string[];
    /**
     * Side of the network's input in pixels.
     */
    size: number;
    /**
     * Name of the network.
     */
    network: string;
    /**
     * Such as "int8".
     */
    precision: string;
    /**
     * Below this confidence the label is "uncertain".
     */
    minConfidence: number;
    /**
     * From this value of `other` on the label is "other".
     */
    otherThreshold?: number | undefined;
    /**
     * Classes that `other` consists of.
     */
    otherClasses: string[];
};
/**
 * The result of the self-test.
 */
export type SelfTest = {
    /**
     * Number of golden inputs, and the largest
     * difference of a logit from the export's.
     */
    network: {
        inputs: number;
        difference: number;
    };
    /**
     * Largest difference of a gray pixel, of 255,
     * from the training's, for each kind of picture.
     */
    pixels: {
        kind: string;
        difference: number;
    }[];
};
