"""Android phones: TensorFlow's or LiteRT's `benchmark_model` on a phone, driven over ADB.

In come a device's spec, artefacts (`.tflite`) and the tool's file. Out go programs that return raw samples, the
identity of the phone, and its temperature and clocks. The way to the phone itself is in `devices.android.adb`.
"""
